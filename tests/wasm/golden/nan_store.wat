;; A computed value is made canonical where its bits show; what is loaded to be stored is not touched.
(module (memory 1)
  (func (param i32)
    (f64.store (local.get 0) (f64.div (f64.load (local.get 0)) (f64.const 3)))
    (f64.store (local.get 0) (f64.load (i32.const 8)))
    (drop (f64.lt (f64.sqrt (f64.load (local.get 0))) (f64.const 2)))))
