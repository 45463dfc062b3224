;; A float that a branch carries out of a block goes as an integer.
(module
  (func (param f64) (result i32)
    (i32.trunc_f64_s (block (result f64) (br 0 (local.get 0))))))
