// count.ts: lines, words and bytes of the input, as `wc` counts them. The same in C and Rust is beside.
import { input, putText } from "./icn";

export function run(): i32 {
  const text = input();
  let lines = 0, words = 0, inside = false;
  for (let i = 0; i < text.length; i++) {
    const space = text[i] == 0x20 || (text[i] >= 0x09 && text[i] <= 0x0d);
    if (text[i] == 0x0a) lines++;
    if (!space && !inside) words++;
    inside = !space;
  }
  return putText(`${lines} ${words} ${text.length}\n`) ? 0 : 1;
}
