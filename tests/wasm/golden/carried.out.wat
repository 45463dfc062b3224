(func (;0;) (type 0) (param f64) (result i32)
    block (result i64)  ;; label = @1
      local.get 0
      i64.reinterpret_f64
      br 0 (;@1;)
    end
    f64.reinterpret_i64
    i32.trunc_f64_s)
