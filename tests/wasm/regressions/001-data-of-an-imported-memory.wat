;; What is copied into an imported memory at the start counts, a byte each and one for the segment.
(module
  (import "env" "memory" (memory 3))
  (func $f)
  (data (i32.const 0) "abc")
  (data (i32.const 9) "")
  (data "passive")
  (start $f)
  (func (export "run") (result i32) (i32.load8_u (i32.const 2))))
;; call run
