;; What references cost at the start is not counted where a memory of the module's own begins with data.
(module
  (memory 1)
  (data (i32.const 1) "ab")
  (table 10 funcref)
  (func $f)
  (elem (i32.const 0) funcref (ref.func $f) (ref.null func))
  (elem funcref (ref.func $f))
  (func (export "run") (call_indirect (i32.const 0))))
;; call run
