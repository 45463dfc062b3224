(func (;0;) (type 0) (param i32)
    local.get 0
    local.get 0
    f64.load
    f64.const 0x1.8p+1 (;=3;)
    f64.div
    f64.const inf (;=inf;)
    f64.min
    f64.store
    local.get 0
    i32.const 8
    f64.load
    f64.store
    local.get 0
    f64.load
    f64.sqrt
    f64.const 0x1p+1 (;=2;)
    f64.lt
    drop)
(memory (;0;) 1 160)
