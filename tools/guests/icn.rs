//! What the ICN host offers a WebAssembly guest, for Rust without any crate.
//!
//! Copy this file beside your source and say `mod icn;`. The safe functions below take slices and strings; `raw` is
//! the host's table as it stands: everything is imported from module "icn", pointers and lengths are 32 bits, a
//! function that fills a buffer takes `(buffer, max_len)` and returns the bytes written, or the total length when
//! `max_len` is 0, and a negative result is an `Error`. What the node's policy forbids answers `NOT_PERMITTED`, what
//! it cannot do `NOT_SUPPORTED`. A guest imports only what it calls.
//!
//! Entry: `#[no_mangle] pub extern "C" fn run() -> i32`; 0 is success, anything else the exit code. Build with
//! `rustc --target wasm32-unknown-unknown --crate-type cdylib -O -C panic=abort -C strip=symbols guest.rs`.
#![allow(dead_code)]

/// The host's table: names and signatures as in `icn_lite/wasm/hostfuncs.py`.
pub mod raw {
    #[link(wasm_import_module = "icn")]
    extern "C" {
        // Input, output, log.
        pub fn get_input(buffer: *mut u8, max_len: u32) -> i32;
        pub fn input_len() -> i32;
        pub fn read_input(offset: u32, buffer: *mut u8, max_len: u32) -> i32;
        pub fn put_output(bytes: *const u8, len: u32) -> i32; // appends; 0 when taken
        pub fn log(text: *const u8, len: u32); // UTF-8
        pub fn host_log_message(level: u32, text: *const u8, len: u32) -> i32;

        // The job that this run is part of.
        pub fn host_job_get_id(buffer: *mut u8, max_len: u32) -> i32;
        pub fn host_job_get_initial_input_cid(buffer: *mut u8, max_len: u32) -> i32;
        pub fn host_job_is_interactive() -> i32;
        pub fn host_job_report_progress(percent: u32, text: *const u8, len: u32) -> i32;
        pub fn host_workflow_get_current_stage_index() -> i32;
        pub fn host_workflow_get_current_stage_id(buffer: *mut u8, max_len: u32) -> i32;
        pub fn host_workflow_get_current_stage_input_cid(
            key: *const u8, key_len: u32, buffer: *mut u8, max_len: u32,
        ) -> i32;

        // Interactive jobs.
        pub fn host_interactive_prompt_for_input(prompt_cid: *const u8, len: u32) -> i32;
        pub fn host_interactive_peek_input_len() -> i32;
        pub fn host_interactive_receive_input(buffer: *mut u8, max_len: u32, timeout_ms: u32) -> i32;
        pub fn host_interactive_send_output(
            payload: *const u8, len: u32, key: *const u8, key_len: u32, is_final: u32,
        ) -> i32;

        // Blocks by content identifier.
        pub fn host_data_read_cid(
            cid: *const u8, cid_len: u32, offset: u32, buffer: *mut u8, max_len: u32,
        ) -> i32;
        pub fn host_data_write_buffer(bytes: *const u8, len: u32, cid_buffer: *mut u8, max_len: u32) -> i32;

        // Accounts, the mesh, proofs.
        pub fn host_account_get_mana() -> i64;
        pub fn host_account_spend_mana(amount: i64) -> i32;
        pub fn host_account_credit_mana(did: *const u8, len: u32, amount: i64) -> i32;
        pub fn host_get_reputation() -> i64;
        pub fn host_submit_mesh_job(job: *const u8, len: u32) -> i32;
        pub fn host_get_pending_mesh_jobs(buffer: *mut u8, max_len: u32) -> i32;
        pub fn host_anchor_receipt(receipt: *const u8, len: u32) -> i32;
        pub fn host_create_governance_proposal(proposal: *const u8, len: u32) -> i32;
        pub fn host_cast_governance_vote(vote: *const u8, len: u32) -> i32;
        pub fn host_execute_governance_proposal(id: *const u8, len: u32) -> i32;
        pub fn host_verify_zk_proof(proof: *const u8, len: u32) -> i32;
        pub fn host_generate_zk_proof(request: *const u8, len: u32, buffer: *mut u8, max_len: u32) -> i32;

        // Helpers that run native code at a fixed fuel price.
        pub fn sha256(bytes: *const u8, len: u32, digest32: *mut u8) -> i32;
        pub fn blake2b(bytes: *const u8, len: u32, digest: *mut u8, digest_len: u32) -> i32;
        pub fn ed25519_verify(message: *const u8, len: u32, signature64: *const u8, key32: *const u8) -> i32;
    }
}

/// HostAbiError of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl Error {
    pub const UNKNOWN: Error = Error(-1);
    pub const INVALID_PARAMETERS: Error = Error(-2);
    pub const MEMORY_ACCESS: Error = Error(-3);
    pub const BUFFER_TOO_SMALL: Error = Error(-4);
    pub const NOT_PERMITTED: Error = Error(-5);
    pub const NOT_SUPPORTED: Error = Error(-6);
    pub const NOT_FOUND: Error = Error(-7);
    pub const TIMEOUT: Error = Error(-8);
    pub const RESOURCE_LIMIT: Error = Error(-9);
    pub const DATA_ENCODING: Error = Error(-10);
    pub const STORAGE: Error = Error(-11);
    pub const NETWORK: Error = Error(-12);
    pub const NOT_INTERACTIVE: Error = Error(-13);
    pub const INVALID_STATE: Error = Error(-14);
}

pub type Result<T> = core::result::Result<T, Error>;

/// A host's answer: a number, or an error where it is negative.
pub fn check(answer: i32) -> Result<u32> {
    if answer < 0 { Err(Error(answer)) } else { Ok(answer as u32) }
}

/// Fill a vector: ask for the length, then for the bytes.
fn filled(call: impl Fn(*mut u8, u32) -> i32) -> Result<Vec<u8>> {
    let len = check(call(core::ptr::null_mut(), 0))?;
    let mut bytes = vec![0; len as usize];
    if len > 0 {
        let written = check(call(bytes.as_mut_ptr(), len))?;
        bytes.truncate(written as usize);
    }
    Ok(bytes)
}

/// All of the input.
pub fn input() -> Result<Vec<u8>> {
    filled(|buffer, max_len| unsafe { raw::get_input(buffer, max_len) })
}

/// A part of the input into a buffer; how much there was. For inputs that are larger than the memory.
pub fn read_input(offset: u32, buffer: &mut [u8]) -> Result<u32> {
    check(unsafe { raw::read_input(offset, buffer.as_mut_ptr(), buffer.len() as u32) })
}

/// Append to the output.
pub fn put_output(bytes: &[u8]) -> Result<()> {
    check(unsafe { raw::put_output(bytes.as_ptr(), bytes.len() as u32) }).map(|_| ())
}

/// A line for the log.
pub fn log(text: &str) {
    unsafe { raw::log(text.as_ptr(), text.len() as u32) }
}

/// How far the work is, for whoever waits.
pub fn report_progress(percent: u32, text: &str) -> Result<()> {
    check(unsafe { raw::host_job_report_progress(percent, text.as_ptr(), text.len() as u32) }).map(|_| ())
}

/// The job's identifier.
pub fn job_id() -> Result<Vec<u8>> {
    filled(|buffer, max_len| unsafe { raw::host_job_get_id(buffer, max_len) })
}

/// SHA-256 by the host.
pub fn sha256(bytes: &[u8]) -> Result<[u8; 32]> {
    let mut digest = [0; 32];
    check(unsafe { raw::sha256(bytes.as_ptr(), bytes.len() as u32, digest.as_mut_ptr()) })?;
    Ok(digest)
}
