;; A branch table leads to a block whose values go through locals and to one whose value stays on the stack.
(module
  (memory (export "m") 1)
  (func (export "run") (param i32 i64) (result i64)
    (block $plain (result i64)
      (local.get 1)
      (loop $again (param i64) (result i64)
        (i64.const 1) (i64.add)
        (block $taking (param i64) (result i64)
          (local.get 0)
          (br_table $plain $taking $plain $taking))
        (i64.const 100) (i64.mul)))
    (i64.const 1000) (i64.add)))
;; call run 0 7
;; call run 1 7
;; call run 2 7
;; call run 5 7
