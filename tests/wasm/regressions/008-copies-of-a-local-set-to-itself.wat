;; Two copies of a 64-bit local were saved to one place, whose second half was given away with the first of them.
;; call f 5
;; call g 0x3ff0000000000000 1
(module
  (func (export "f") (param i32) (result i64) (local i32 i64)
    local.get 2 local.get 2 local.set 2
    i32.const 0
    if (result i32) i32.const 0 else i32.const -7 end
    drop)
  (func (export "g") (param f64 i32) (result i64)
    local.get 0 local.get 0
    loop
      block (result f32) i64.const -1 i32.const 0 br_table 2 2 end
      drop
    end
    unreachable))
