;; A loop whose local goes on by 2^31 twice a round, so not at all, was counted with a mask that is no i32.
;; call run 7 7
;; call run 9 9
(module
  (func (export "run") (param $i i32) (param $n i32) (result i32) (local $sum i32)
    (loop
      (local.set $i (i32.add (local.get $i) (i32.const -2147483648)))
      (local.set $i (i32.add (local.get $i) (i32.const -2147483648)))
      (local.set $sum (i32.add (local.get $sum) (i32.const 1)))
      (br_if 0 (i32.ne (local.get $i) (local.get $n))))
    (local.get $sum)))
