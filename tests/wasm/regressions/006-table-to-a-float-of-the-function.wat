;; A branch table to the function's end, which is a block of bits, and to a loop that finds its float in a local.
(module
  (memory (export "m") 1)
  (global $n (mut i32) (i32.const 3))
  (func $f (param i32 f64) (result f64)
    (local.get 1)
    (loop $again (param f64) (result f64)
      (f64.const 1.5)
      (f64.add)
      (global.set $n (i32.sub (global.get $n) (i32.const 1)))
      (if (result f64) (i32.lt_s (global.get $n) (i32.const 0))
        (then (br 2 (f64.const inf)))
        (else (f64.const 2)))
      (f64.mul)
      (local.get 0)
      (br_table 0 1)))
  (func (export "run") (param i32 i64) (result i64)
    (i64.reinterpret_f64 (call $f (local.get 0) (f64.reinterpret_i64 (local.get 1))))))
;; call run 0 0x3ff0000000000000
;; call run 1 0x3ff0000000000000
