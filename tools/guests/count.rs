//! count.rs: lines, words and bytes of the input, as `wc` counts them. The same in C and AssemblyScript is beside.
mod icn;

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn count() -> icn::Result<()> {
    let text = icn::input()?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let words = text.split(is_space).filter(|word| !word.is_empty()).count();
    icn::put_output(format!("{} {} {}\n", lines, words, text.len()).as_bytes())
}

#[no_mangle]
pub extern "C" fn run() -> i32 {
    match count() {
        Ok(()) => 0,
        Err(error) => {
            icn::log(&format!("the host refused: {:?}", error));
            1
        }
    }
}
