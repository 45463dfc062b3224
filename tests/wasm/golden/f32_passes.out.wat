(func (;0;) (type 0) (param i32 i32) (result i32)
    (local i32)
    local.get 0
    i32.load
    local.set 2
    local.get 0
    local.get 2
    i32.store offset=4
    local.get 0
    local.get 1
    i32.const -2147483648
    i32.xor
    i32.store offset=8
    i32.const 2141192193)
(func (;1;) (type 1) (param i32) (result i32)
    (local f32)
    local.get 0
    f32.reinterpret_i32
    f32.const 0x1p+1 (;=2;)
    f32.mul
    local.set 1
    local.get 1
    local.get 1
    f32.add
    f32.const inf (;=inf;)
    f32.min
    i32.reinterpret_f32)
(memory (;0;) 1 160)
