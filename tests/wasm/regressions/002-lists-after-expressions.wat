;; Lists of functions cost nothing at the start, unless one of expressions stands before them.
(module
  (table 10 funcref)
  (func $f)
  (elem (i32.const 0) $f $f)
  (elem (i32.const 1) funcref (ref.func $f))
  (elem (i32.const 0) $f $f $f)
  (elem funcref (ref.func $f))
  (func (export "run") (call_indirect (i32.const 2))))
;; call run
