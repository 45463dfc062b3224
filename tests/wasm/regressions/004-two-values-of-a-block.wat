;; Two integers of a block came out of the engine in the other order: its slots were free in that order.
(module
  (memory (export "m") 1)
  (func (export "run") (param i32 i64) (result i64 i32)
    (block (result i64 i32)
      (local.get 0)
      (if (result i32)
        (then (i32.const 0))
        (else (local.get 1) (local.get 1) (local.set 1) (drop) (i32.const 0)))
      (i64.extend_i32_u)
      (i32.const 9)))
  (func (export "table") (param i32 i64 i32) (result i64 i32)
    (i64.add (i64.const 1)
      (block (result i64)
        (block $many (param) (result i64 i32)
          (br_if $many (local.get 1) (i32.const 5) (local.get 0))
          (drop) (drop)
          (if (param) (result i64)
            (local.get 0)
            (then (i64.const 3)) (else (i64.const 4)))
          (i32.const 6))
        (drop)))
    (local.get 2)))
;; call run 0 5
;; call run 1 5
;; call table 0 7 8
;; call table 1 7 8
