/* icn.h: what the ICN host offers a WebAssembly guest, for C without a library.
 *
 * Everything is imported from module "icn". Pointers and lengths are 32 bits. A function that fills a buffer takes
 * (buffer, max_len) and returns the bytes written, or the total length when max_len is 0, so that a guest can ask
 * first. A negative result is one of ICN_E_*. What the node's policy forbids answers ICN_E_NOT_PERMITTED, what it
 * cannot do answers ICN_E_NOT_SUPPORTED; a guest pays for importing only what it calls, since an unused declaration
 * leaves no trace in the module.
 *
 * Entry: a function marked ICN_EXPORT("run") of type `int run(void)`; 0 is success, anything else the exit code.
 */
#ifndef ICN_H
#define ICN_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

_Static_assert(sizeof(void *) == 4 && sizeof(u32) == 4 && sizeof(u64) == 8, "icn.h is for wasm32");

#define ICN_IMPORT(name) __attribute__((import_module("icn"), import_name(name)))
#define ICN_EXPORT(name) __attribute__((export_name(name)))

/* HostAbiError of the specification. */
enum {
    ICN_E_UNKNOWN = -1,
    ICN_E_INVALID_PARAMETERS = -2,
    ICN_E_MEMORY_ACCESS = -3,
    ICN_E_BUFFER_TOO_SMALL = -4,
    ICN_E_NOT_PERMITTED = -5,
    ICN_E_NOT_SUPPORTED = -6,
    ICN_E_NOT_FOUND = -7,
    ICN_E_TIMEOUT = -8,
    ICN_E_RESOURCE_LIMIT = -9,
    ICN_E_DATA_ENCODING = -10,
    ICN_E_STORAGE = -11,
    ICN_E_NETWORK = -12,
    ICN_E_NOT_INTERACTIVE = -13,
    ICN_E_INVALID_STATE = -14
};

/* Input, output, log. */
ICN_IMPORT("get_input") i32 icn_get_input(void *buffer, u32 max_len);
ICN_IMPORT("input_len") i32 icn_input_len(void);
ICN_IMPORT("read_input") i32 icn_read_input(u32 offset, void *buffer, u32 max_len);
ICN_IMPORT("put_output") i32 icn_put_output(const void *bytes, u32 len); /* appends; 0 when taken */
ICN_IMPORT("log") void icn_log(const void *text, u32 len);               /* UTF-8 */
ICN_IMPORT("host_log_message") i32 host_log_message(u32 level, const void *text, u32 len);

/* The job that this run is part of. */
ICN_IMPORT("host_job_get_id") i32 host_job_get_id(void *buffer, u32 max_len);
ICN_IMPORT("host_job_get_initial_input_cid") i32 host_job_get_initial_input_cid(void *buffer, u32 max_len);
ICN_IMPORT("host_job_is_interactive") i32 host_job_is_interactive(void);
ICN_IMPORT("host_job_report_progress") i32 host_job_report_progress(u32 percent, const void *text, u32 len);
ICN_IMPORT("host_workflow_get_current_stage_index") i32 host_workflow_get_current_stage_index(void);
ICN_IMPORT("host_workflow_get_current_stage_id") i32 host_workflow_get_current_stage_id(void *buffer, u32 max_len);
ICN_IMPORT("host_workflow_get_current_stage_input_cid")
i32 host_workflow_get_current_stage_input_cid(const void *key, u32 key_len, void *buffer, u32 max_len);

/* Interactive jobs. */
ICN_IMPORT("host_interactive_prompt_for_input")
i32 host_interactive_prompt_for_input(const void *prompt_cid, u32 len);
ICN_IMPORT("host_interactive_peek_input_len") i32 host_interactive_peek_input_len(void);
ICN_IMPORT("host_interactive_receive_input")
i32 host_interactive_receive_input(void *buffer, u32 max_len, u32 timeout_ms);
ICN_IMPORT("host_interactive_send_output")
i32 host_interactive_send_output(const void *payload, u32 len, const void *key, u32 key_len, u32 is_final);

/* Blocks by content identifier. */
ICN_IMPORT("host_data_read_cid")
i32 host_data_read_cid(const void *cid, u32 cid_len, u32 offset, void *buffer, u32 max_len);
ICN_IMPORT("host_data_write_buffer")
i32 host_data_write_buffer(const void *bytes, u32 len, void *cid_buffer, u32 max_len);

/* Accounts, the mesh, proofs. */
ICN_IMPORT("host_account_get_mana") i64 host_account_get_mana(void);
ICN_IMPORT("host_account_spend_mana") i32 host_account_spend_mana(i64 amount);
ICN_IMPORT("host_account_credit_mana") i32 host_account_credit_mana(const void *did, u32 len, i64 amount);
ICN_IMPORT("host_get_reputation") i64 host_get_reputation(void);
ICN_IMPORT("host_submit_mesh_job") i32 host_submit_mesh_job(const void *job, u32 len);
ICN_IMPORT("host_get_pending_mesh_jobs") i32 host_get_pending_mesh_jobs(void *buffer, u32 max_len);
ICN_IMPORT("host_anchor_receipt") i32 host_anchor_receipt(const void *receipt, u32 len);
ICN_IMPORT("host_create_governance_proposal") i32 host_create_governance_proposal(const void *proposal, u32 len);
ICN_IMPORT("host_cast_governance_vote") i32 host_cast_governance_vote(const void *vote, u32 len);
ICN_IMPORT("host_execute_governance_proposal") i32 host_execute_governance_proposal(const void *id, u32 len);
ICN_IMPORT("host_verify_zk_proof") i32 host_verify_zk_proof(const void *proof, u32 len);
ICN_IMPORT("host_generate_zk_proof")
i32 host_generate_zk_proof(const void *request, u32 len, void *buffer, u32 max_len);

/* Helpers that run native code at a fixed fuel price. */
ICN_IMPORT("sha256") i32 icn_sha256(const void *bytes, u32 len, u8 *digest32);
ICN_IMPORT("blake2b") i32 icn_blake2b(const void *bytes, u32 len, u8 *digest, u32 digest_len);
ICN_IMPORT("ed25519_verify")
i32 icn_ed25519_verify(const void *message, u32 len, const u8 *signature64, const u8 *key32);

/* Memory from `at` up to `at + bytes` exists afterwards: 1, or 0 when the node's page limit forbids it. */
static inline int icn_reserve(u32 at, u32 bytes) {
    u64 pages = ((u64)at + bytes + 65535) >> 16;
    u64 have = __builtin_wasm_memory_size(0);
    if (pages <= have) return 1;
    if (pages > 65536) return 0;
    return __builtin_wasm_memory_grow(0, (u32)(pages - have)) != (u32)-1;
}

/* The first address behind the guest's own data and stack: the linker's name for where a heap may begin. */
extern u8 __heap_base;
#define ICN_HEAP ((u32)&__heap_base)

/* Log a string literal. */
#define ICN_LOG(text) icn_log(text, sizeof(text) - 1)

#endif
