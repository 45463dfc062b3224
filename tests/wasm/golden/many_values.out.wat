(func (;0;) (type 0) (param i32 f64) (result f64)
    (local i32 i64 i32)
    block  ;; label = @1
      local.get 1
      i64.reinterpret_f64
      local.get 0
      local.set 4
      local.set 3
    end
    local.get 3
    local.get 4
    local.set 2
    f64.reinterpret_i64
    local.get 2
    drop)
