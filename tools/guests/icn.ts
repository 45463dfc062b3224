// What the ICN host offers a WebAssembly guest, for AssemblyScript without any package.
//
// Copy this file beside your source and import from "./icn". The functions at the end take strings and arrays; those
// before them are the host's table as it stands: everything is imported from module "icn", pointers and lengths are
// 32 bits, a function that fills a buffer takes (buffer, max_len) and returns the bytes written, or the total length
// when max_len is 0, and a negative result is one of HostError. What the node's policy forbids answers NotPermitted,
// what it cannot do NotSupported. A guest imports only what it calls.
//
// Entry: `export function run(): i32`; 0 is success, anything else the exit code. Build with
// `asc guest.ts -o guest.wasm -O`.

/** HostAbiError of the specification. */
export enum HostError {
  Unknown = -1,
  InvalidParameters = -2,
  MemoryAccess = -3,
  BufferTooSmall = -4,
  NotPermitted = -5,
  NotSupported = -6,
  NotFound = -7,
  Timeout = -8,
  ResourceLimit = -9,
  DataEncoding = -10,
  Storage = -11,
  Network = -12,
  NotInteractive = -13,
  InvalidState = -14,
}

// Input, output, log.
@external("icn", "get_input") export declare function get_input(buffer: usize, max_len: u32): i32;
@external("icn", "input_len") export declare function input_len(): i32;
@external("icn", "read_input") export declare function read_input(offset: u32, buffer: usize, max_len: u32): i32;
@external("icn", "put_output") export declare function put_output(bytes: usize, len: u32): i32; // appends; 0 when taken
@external("icn", "log") export declare function log(text: usize, len: u32): void; // UTF-8
@external("icn", "host_log_message") export declare function host_log_message(level: u32, text: usize, len: u32): i32;

// The job that this run is part of.
@external("icn", "host_job_get_id") export declare function host_job_get_id(buffer: usize, max_len: u32): i32;
@external("icn", "host_job_get_initial_input_cid")
export declare function host_job_get_initial_input_cid(buffer: usize, max_len: u32): i32;
@external("icn", "host_job_is_interactive") export declare function host_job_is_interactive(): i32;
@external("icn", "host_job_report_progress")
export declare function host_job_report_progress(percent: u32, text: usize, len: u32): i32;
@external("icn", "host_workflow_get_current_stage_index")
export declare function host_workflow_get_current_stage_index(): i32;
@external("icn", "host_workflow_get_current_stage_id")
export declare function host_workflow_get_current_stage_id(buffer: usize, max_len: u32): i32;
@external("icn", "host_workflow_get_current_stage_input_cid")
export declare function host_workflow_get_current_stage_input_cid(
  key: usize, key_len: u32, buffer: usize, max_len: u32): i32;

// Interactive jobs.
@external("icn", "host_interactive_prompt_for_input")
export declare function host_interactive_prompt_for_input(prompt_cid: usize, len: u32): i32;
@external("icn", "host_interactive_peek_input_len")
export declare function host_interactive_peek_input_len(): i32;
@external("icn", "host_interactive_receive_input")
export declare function host_interactive_receive_input(buffer: usize, max_len: u32, timeout_ms: u32): i32;
@external("icn", "host_interactive_send_output")
export declare function host_interactive_send_output(
  payload: usize, len: u32, key: usize, key_len: u32, is_final: u32): i32;

// Blocks by content identifier.
@external("icn", "host_data_read_cid")
export declare function host_data_read_cid(
  cid: usize, cid_len: u32, offset: u32, buffer: usize, max_len: u32): i32;
@external("icn", "host_data_write_buffer")
export declare function host_data_write_buffer(bytes: usize, len: u32, cid_buffer: usize, max_len: u32): i32;

// Accounts, the mesh, proofs.
@external("icn", "host_account_get_mana") export declare function host_account_get_mana(): i64;
@external("icn", "host_account_spend_mana") export declare function host_account_spend_mana(amount: i64): i32;
@external("icn", "host_account_credit_mana")
export declare function host_account_credit_mana(did: usize, len: u32, amount: i64): i32;
@external("icn", "host_get_reputation") export declare function host_get_reputation(): i64;
@external("icn", "host_submit_mesh_job") export declare function host_submit_mesh_job(job: usize, len: u32): i32;
@external("icn", "host_get_pending_mesh_jobs")
export declare function host_get_pending_mesh_jobs(buffer: usize, max_len: u32): i32;
@external("icn", "host_anchor_receipt") export declare function host_anchor_receipt(receipt: usize, len: u32): i32;
@external("icn", "host_create_governance_proposal")
export declare function host_create_governance_proposal(proposal: usize, len: u32): i32;
@external("icn", "host_cast_governance_vote")
export declare function host_cast_governance_vote(vote: usize, len: u32): i32;
@external("icn", "host_execute_governance_proposal")
export declare function host_execute_governance_proposal(id: usize, len: u32): i32;
@external("icn", "host_verify_zk_proof") export declare function host_verify_zk_proof(proof: usize, len: u32): i32;
@external("icn", "host_generate_zk_proof")
export declare function host_generate_zk_proof(request: usize, len: u32, buffer: usize, max_len: u32): i32;

// Helpers that run native code at a fixed fuel price.
@external("icn", "sha256") export declare function sha256(bytes: usize, len: u32, digest32: usize): i32;
@external("icn", "blake2b")
export declare function blake2b(bytes: usize, len: u32, digest: usize, digest_len: u32): i32;
@external("icn", "ed25519_verify")
export declare function ed25519_verify(message: usize, len: u32, signature64: usize, key32: usize): i32;

/** All of the input. */
export function input(): Uint8Array {
  const bytes = new Uint8Array(input_len());
  if (bytes.length > 0) get_input(bytes.dataStart, bytes.length);
  return bytes;
}

/** Append to the output; whether the host took it. */
export function putBytes(bytes: Uint8Array): bool {
  return put_output(bytes.dataStart, bytes.length) == 0;
}

/** Append a text as UTF-8; whether the host took it. */
export function putText(text: string): bool {
  const bytes = String.UTF8.encode(text);
  return put_output(changetype<usize>(bytes), bytes.byteLength) == 0;
}

/** A line for the log. */
export function logText(text: string): void {
  const bytes = String.UTF8.encode(text);
  log(changetype<usize>(bytes), bytes.byteLength);
}

/** How far the work is, for whoever waits. */
export function reportProgress(percent: u32, text: string): bool {
  const bytes = String.UTF8.encode(text);
  return host_job_report_progress(percent, changetype<usize>(bytes), bytes.byteLength) == 0;
}
