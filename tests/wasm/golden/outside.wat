;; What is imported becomes the module's own; constants are worked out; long integers are written short.
(module (import "env" "memory" (memory 1 9)) (import "env" "__indirect_function_table" (table 3 funcref))
  (global f32 (f32.const 1.5))
  (data (offset (i32.mul (i32.const 4) (i32.const 5))) "x")
  (func (result f32) (global.get 0)))
