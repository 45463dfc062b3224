;; bench.wat: the standard guest. Every device runs the same work, so their speeds can be compared, and whoever has the
;; receipt can run it again.
;;
;; `run` reads up to 32 bytes of input (the executor's public key, so that nobody's result is anybody else's), fills a
;; table of 4096 words from them, and walks it 1000 times: loads and stores at addresses that depend on the data, 32-
;; and 64-bit multiplications, rotations, a call for every word. No branch depends on the data, so the fuel is the same
;; for every input, to the unit; what comes out is not, and nobody knows it who hasn't run it. Integers only: floats
;; are rare in what small devices are given, and cost more, because their NaNs are made alike.
;;
;; `hold` takes so many pages of memory and touches each: whether a device can really give what its profile says.
(module
  (import "icn" "get_input" (func $get_input (param $to i32) (param $most i32) (result i32)))
  (memory (export "memory") 1)

  (func $mix (param $a i32) (param $b i32) (result i32)
    (i32.xor
      (i32.add (i32.mul (i32.rotl (local.get $a) (i32.const 13)) (i32.const 0x9e3779b1)) (local.get $b))
      (i32.shr_u (local.get $a) (i32.const 16))))

  (func $fold (param $h i64) (param $word i64) (result i64)
    (i64.rotl
      (i64.mul (i64.xor (local.get $h) (local.get $word)) (i64.const 0x100000001b3))
      (i64.const 29)))

  ;; The table lies from 16384 to 32768; words are addressed by their byte offsets.
  (func $fill (param $h i64) (result i64)
    (local $at i32)
    (loop $next
      (local.set $h (i64.xor (local.get $h) (i64.shl (local.get $h) (i64.const 13))))
      (local.set $h (i64.xor (local.get $h) (i64.shr_u (local.get $h) (i64.const 7))))
      (local.set $h (i64.xor (local.get $h) (i64.shl (local.get $h) (i64.const 17))))
      (i32.store offset=16384 (local.get $at) (i32.wrap_i64 (local.get $h)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 16384))))
    (local.get $h))

  (func $walk (param $h i64) (result i64)
    (local $at i32) (local $a i32) (local $b i32) (local $sum i32)
    (loop $next
      (local.set $a (i32.load offset=16384 (local.get $at)))
      (local.set $b (i32.load offset=16384 (i32.and (local.get $a) (i32.const 0x3ffc))))
      (local.set $a (call $mix (local.get $a) (local.get $b)))
      (i32.store offset=16384 (local.get $at) (local.get $a))
      (local.set $h
        (i64.mul (i64.xor (local.get $h) (i64.extend_i32_u (local.get $a))) (i64.const 0x100000001b3)))
      (local.set $sum
        (i32.add
          (local.get $sum)
          (select (local.get $a) (local.get $b) (i32.and (local.get $a) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 16384))))
    (i64.add (local.get $h) (i64.extend_i32_u (local.get $sum))))

  (func (export "run") (result i64)
    (local $h i64) (local $round i32)
    (drop (call $get_input (i32.const 0) (i32.const 32)))
    (local.set $h (call $fold (i64.const 0x6a09e667f3bcc908) (i64.load (i32.const 0))))
    (local.set $h (call $fold (local.get $h) (i64.load (i32.const 8))))
    (local.set $h (call $fold (local.get $h) (i64.load (i32.const 16))))
    (local.set $h (call $fold (local.get $h) (i64.load (i32.const 24))))
    (local.set $h (call $fill (local.get $h)))
    (loop $next
      (local.set $h (call $walk (local.get $h)))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $round) (i32.const 1000))))
    (local.get $h))

  (func (export "hold") (param $pages i32) (result i32)
    (local $page i32)
    (if (i32.eq (memory.grow (i32.sub (local.get $pages) (memory.size))) (i32.const -1))
      (then (return (i32.const -1))))
    (loop $next
      (i32.store (i32.shl (local.get $page) (i32.const 16)) (local.get $page))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $page) (memory.size))))
    (memory.size)))
