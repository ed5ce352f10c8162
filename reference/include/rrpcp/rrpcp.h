/* rrpcp.h - reading, writing and judging persistent checkpoints, for C and everything that can call C.
 *
 * This is the interface that is kept: a program that was linked against one release runs with every
 * later one that has the same SONAME (spec/abi.md). It needs nothing but the C library, knows no type
 * of another project, and lets no exception through.
 *
 * Conventions
 *
 * - A function that can fail returns an rrpcp_status, RRPCP_OK (0) where it did not, and has as its
 *   last parameter `rrpcp_error **error`. Where that is not NULL it is set: to NULL on success, to an
 *   error that the caller frees with rrpcp_error_free() on failure. Results are set on success only.
 * - Handles are opaque. Each is freed by the function of its name; freeing NULL does nothing. What a
 *   handle was made from must outlive it: a memory view its checkpoint, a node its checkpoint or draft.
 * - `const char *` results belong to the handle they were got from and live as long. Those that the
 *   caller has to free say so: with rrpcp_free().
 * - Structs are filled by functions that take their size: a later release may add members at the end,
 *   and fills no more than the caller has room for. Structs that are read start with their size.
 * - Paths and names of files are bytes, as the kernel has them. Texts of the library are UTF-8.
 * - Threads: a checkpoint, a listing, a report and an error may be used from several threads at once.
 *   Memory views, drafts, nodes and writers by one thread at a time. There is no global state.
 * - Nothing in a file is trusted: whatever a file holds, a call succeeds or fails with a status.
 *
 * Fields of a state are named by paths, as pcp-validate and pcp-inspect print them:
 * "state.tasks[0].registers[1].data". spec/model.md and spec/rr.md explain every field.
 */
#ifndef RRPCP_RRPCP_H
#define RRPCP_RRPCP_H

#include <stddef.h>
#include <stdint.h>

#include "rrpcp/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The library ---------------------------------------------------------------------------- */

/* Version of the library as "1.2.3". */
RRPCP_EXPORT const char *rrpcp_version(void);
/* Version of the file format that it writes, as "1.0". */
RRPCP_EXPORT const char *rrpcp_format_version(void);
/* Frees what a function says is to be freed by it. */
RRPCP_EXPORT void rrpcp_free(void *memory);

/* ---- Errors --------------------------------------------------------------------------------- */

/* What kind of failure it was. Numbers and names are stable; a later release may have more. */
typedef int32_t rrpcp_status;
enum {
  RRPCP_OK = 0,
  RRPCP_SYSTEM = 1,              /* a system call failed; rrpcp_error_errno() says how */
  RRPCP_NOT_FOUND = 2,           /* the file or directory does not exist */
  RRPCP_PERMISSION = 3,          /* the kernel denied access */
  RRPCP_NO_SPACE = 4,            /* no space or quota left */
  RRPCP_INVALID_ARGUMENT = 5,    /* an argument makes no sense: a path of no field, a wrong type */
  RRPCP_NOT_A_CHECKPOINT = 10,   /* the magic is missing */
  RRPCP_INCOMPLETE = 11,         /* never finished, or cut */
  RRPCP_DAMAGED = 12,            /* bytes differ from their checksum, or a rule is broken */
  RRPCP_UNSUPPORTED_FEATURE = 13, /* a feature or major version that this library does not know */
  RRPCP_LIMIT = 14,              /* a limit of the library or of the format */
  RRPCP_UNSUPPORTED_STATE = 15,  /* valid, but this operation cannot carry it */
  RRPCP_BACKING_FILE = 16,       /* a backing file is missing or has changed */
  RRPCP_FOREIGN_TRACE = 17,      /* the checkpoint belongs to another trace */
  RRPCP_EXISTS = 23,             /* the name is taken */
  RRPCP_NO_MEMORY = 98,
  RRPCP_INTERNAL = 99            /* a defect of the library, please report it */
};
/* The stable name of a status, as "not-found"; "unknown" for a number that it does not know. */
RRPCP_EXPORT const char *rrpcp_status_name(rrpcp_status status);

typedef struct rrpcp_error rrpcp_error;
RRPCP_EXPORT void rrpcp_error_free(rrpcp_error *error);
RRPCP_EXPORT rrpcp_status rrpcp_error_status(const rrpcp_error *error);
/* All of it in one line: "FILE: at byte N: what is wrong; what to do". */
RRPCP_EXPORT const char *rrpcp_error_text(const rrpcp_error *error);
/* Its parts; "" where there is none. */
RRPCP_EXPORT const char *rrpcp_error_message(const rrpcp_error *error);
RRPCP_EXPORT const char *rrpcp_error_file(const rrpcp_error *error);
RRPCP_EXPORT const char *rrpcp_error_hint(const rrpcp_error *error);
/* The validator's code for it (spec/validation.md). */
RRPCP_EXPORT const char *rrpcp_error_diagnostic(const rrpcp_error *error);
/* errno of the failed system call; 0: none. */
RRPCP_EXPORT int rrpcp_error_errno(const rrpcp_error *error);
/* 1 and the byte of the file that it is about, or 0. */
RRPCP_EXPORT int rrpcp_error_offset(const rrpcp_error *error, uint64_t *offset);

/* ---- Opening and listing -------------------------------------------------------------------- */

/* What header and footer say (spec/format.md). */
typedef struct rrpcp_header {
  uint16_t major;
  uint16_t minor;
  uint16_t position_kind; /* 0 no trace, 1 at an event, 2 forward to a mark, 3 between events */
  uint16_t machine;       /* ELF e_machine */
  uint8_t elf_class;      /* ELF EI_CLASS: 1 or 2 */
  uint8_t data_encoding;  /* ELF EI_DATA: 1 or 2 */
  uint16_t reserved;
  uint32_t page_size;   /* bytes */
  uint32_t chunk_pages; /* pages of a chunk */
  int32_t current_task; /* tid, 0 none */
  int64_t event;        /* of the stored state; 0 without a trace */
  int64_t ticks;
  int64_t mark_event; /* of the position it stands for */
  int64_t mark_ticks;
  uint64_t instructions;
  uint32_t order;
  uint32_t reserved2;
  uint8_t trace_uuid[16]; /* all 0: no trace */
  uint8_t id[16];         /* checkpoint id */
  uint64_t file_size;     /* bytes */
  uint64_t page_count;    /* of the page stream */
  uint64_t chunk_count;
} rrpcp_header;

/* An open checkpoint. Opening reads header, footer and manifest and compares their digests; page data
 * is read where it is asked for. The file stays mapped until it is closed. */
typedef struct rrpcp_checkpoint rrpcp_checkpoint;
RRPCP_EXPORT rrpcp_status rrpcp_open(const char *path, rrpcp_checkpoint **checkpoint,
                                     rrpcp_error **error);
/* The same for a descriptor, which stays the caller's; errors call the file `name`. */
RRPCP_EXPORT rrpcp_status rrpcp_open_fd(int fd, const char *name, rrpcp_checkpoint **checkpoint,
                                        rrpcp_error **error);
RRPCP_EXPORT void rrpcp_close(rrpcp_checkpoint *checkpoint);
/* Fills `size` bytes of `header`: sizeof(rrpcp_header). */
RRPCP_EXPORT void rrpcp_get_header(const rrpcp_checkpoint *checkpoint, rrpcp_header *header,
                                   size_t size);

/* The checkpoints (*.pcp) of a directory, ordered by position. Reads headers and footers alone, so it
 * costs the same for large files as for small ones. A directory that is not there is an empty one. */
typedef struct rrpcp_listing rrpcp_listing;
RRPCP_EXPORT rrpcp_status rrpcp_list(const char *directory, rrpcp_listing **listing,
                                     rrpcp_error **error);
RRPCP_EXPORT void rrpcp_listing_free(rrpcp_listing *listing);
RRPCP_EXPORT size_t rrpcp_listing_count(const rrpcp_listing *listing);
RRPCP_EXPORT const char *rrpcp_listing_path(const rrpcp_listing *listing, size_t index);
RRPCP_EXPORT void rrpcp_listing_header(const rrpcp_listing *listing, size_t index,
                                       rrpcp_header *header, size_t size);
/* Why the file cannot be used; NULL: it can. The listing's own. */
RRPCP_EXPORT const rrpcp_error *rrpcp_listing_problem(const rrpcp_listing *listing, size_t index);
/* The last usable one at or before `event`, of the trace `trace_uuid` (16 bytes) unless that is NULL.
 * SIZE_MAX: there is none. */
RRPCP_EXPORT size_t rrpcp_listing_choose(const rrpcp_listing *listing, int64_t event,
                                         const uint8_t *trace_uuid);

/* ---- Fields --------------------------------------------------------------------------------- */

/* A struct of a manifest, to be read or, of a draft, written. Nodes are small; the root of a
 * checkpoint or draft belongs to that, others are freed by the caller.
 *
 * A path names fields from the node on: "tasks[3].rr.name"; "" is the node itself. Of a union's arms
 * only the one that is set can be read; "which" reads as its name. Fields of structs that are absent
 * have their defaults. */
typedef struct rrpcp_node rrpcp_node;
RRPCP_EXPORT const rrpcp_node *rrpcp_manifest(const rrpcp_checkpoint *checkpoint);
/* The struct at `path`, as a node of its own. */
RRPCP_EXPORT rrpcp_status rrpcp_get_node(const rrpcp_node *node, const char *path, rrpcp_node **child,
                                         rrpcp_error **error);
RRPCP_EXPORT void rrpcp_node_free(rrpcp_node *node);

enum {
  RRPCP_KIND_VOID = 0,
  RRPCP_KIND_BOOL = 1,
  RRPCP_KIND_INT = 2,  /* signed, up to 64 bits */
  RRPCP_KIND_UINT = 3, /* unsigned, up to 64 bits */
  RRPCP_KIND_TEXT = 4, /* UTF-8 */
  RRPCP_KIND_DATA = 5, /* bytes */
  RRPCP_KIND_ENUM = 6,
  RRPCP_KIND_STRUCT = 7,
  RRPCP_KIND_LIST = 8
};
/* What kind of value a path names, by the schema alone. */
RRPCP_EXPORT rrpcp_status rrpcp_get_kind(const rrpcp_node *node, const char *path, int *kind,
                                         rrpcp_error **error);
/* 1 where the field is there: a pointer that is not null, an arm that is set. Other fields always
 * are. */
RRPCP_EXPORT rrpcp_status rrpcp_has(const rrpcp_node *node, const char *path, int *present,
                                    rrpcp_error **error);
/* Numbers, booleans (0 and 1) and enums (their number). Fails where the value does not fit. */
RRPCP_EXPORT rrpcp_status rrpcp_get_u64(const rrpcp_node *node, const char *path, uint64_t *value,
                                        rrpcp_error **error);
RRPCP_EXPORT rrpcp_status rrpcp_get_i64(const rrpcp_node *node, const char *path, int64_t *value,
                                        rrpcp_error **error);
/* Text and data, where they lie; not ended by a NUL. NULL and 0 where the field is absent. */
RRPCP_EXPORT rrpcp_status rrpcp_get_bytes(const rrpcp_node *node, const char *path,
                                          const void **bytes, size_t *size, rrpcp_error **error);
/* Name of an enum's value, or with a path that ends in "which" of the union's arm. NULL for one that
 * this release does not know. It lives as long as the program. */
RRPCP_EXPORT rrpcp_status rrpcp_get_name(const rrpcp_node *node, const char *path, const char **name,
                                         rrpcp_error **error);
/* Entries of a list. */
RRPCP_EXPORT rrpcp_status rrpcp_get_count(const rrpcp_node *node, const char *path, size_t *count,
                                          rrpcp_error **error);
/* Name of a field of the struct at `path`, of all that its schema has; NULL behind the last. It lives
 * as long as the program. */
RRPCP_EXPORT rrpcp_status rrpcp_get_field_name(const rrpcp_node *node, const char *path, size_t index,
                                               const char **name, rrpcp_error **error);
/* The struct or list at `path` as JSON, in the form of spec/inspect-json.md ("Messages"), without
 * white space, ended by a NUL. To be freed with rrpcp_free(). */
RRPCP_EXPORT rrpcp_status rrpcp_get_json(const rrpcp_node *node, const char *path, char **json,
                                         size_t *size, rrpcp_error **error);

/* ---- What most programs ask for ------------------------------------------------------------- */

typedef struct rrpcp_process {
  int32_t pid;
  uint32_t serial; /* of a replayer; 0 none */
} rrpcp_process;
RRPCP_EXPORT size_t rrpcp_process_count(const rrpcp_checkpoint *checkpoint);
RRPCP_EXPORT rrpcp_status rrpcp_get_process(const rrpcp_checkpoint *checkpoint, size_t index,
                                            rrpcp_process *process, size_t size,
                                            rrpcp_error **error);

typedef struct rrpcp_task {
  int32_t tid;
  uint32_t process;       /* index */
  uint32_t address_space; /* index */
  uint32_t serial;        /* of a replayer; 0 none */
  uint64_t name_size;     /* bytes */
  const char *name;       /* ended by a NUL that does not count */
} rrpcp_task;
RRPCP_EXPORT size_t rrpcp_task_count(const rrpcp_checkpoint *checkpoint);
RRPCP_EXPORT rrpcp_status rrpcp_get_task(const rrpcp_checkpoint *checkpoint, size_t index,
                                         rrpcp_task *task, size_t size, rrpcp_error **error);
/* The task's register set of an ELF note type (NT_PRSTATUS is 1), exactly as PTRACE_GETREGSET gives
 * it. NULL and 0 where the task has none. */
RRPCP_EXPORT rrpcp_status rrpcp_get_registers(const rrpcp_checkpoint *checkpoint, size_t task,
                                              uint32_t note_type, const void **bytes, size_t *size,
                                              rrpcp_error **error);

typedef struct rrpcp_mapping {
  uint64_t start;
  uint64_t end;        /* behind the last byte */
  uint32_t protection; /* PROT_* */
  uint32_t flags;      /* MAP_* */
  uint32_t role;       /* spec/model.md, "Roles" */
  uint32_t object;     /* index of the memory object; UINT32_MAX none */
  uint64_t object_offset;
  uint64_t stored_pages; /* pages of the mapping itself that the file holds */
  uint64_t name_size;
  const char *name; /* not ended by a NUL */
} rrpcp_mapping;
RRPCP_EXPORT size_t rrpcp_space_count(const rrpcp_checkpoint *checkpoint);
RRPCP_EXPORT rrpcp_status rrpcp_mapping_count(const rrpcp_checkpoint *checkpoint, size_t space,
                                              size_t *count, rrpcp_error **error);
RRPCP_EXPORT rrpcp_status rrpcp_get_mapping(const rrpcp_checkpoint *checkpoint, size_t space,
                                            size_t index, rrpcp_mapping *mapping, size_t size,
                                            rrpcp_error **error);

/* Memory of an address space, by address. Chunks are decoded on first use. `trace_directory` is where
 * files of the trace are looked for, NULL: nowhere; `verify` other than 0: backing files are compared
 * with their digests before the first use. */
typedef struct rrpcp_memory rrpcp_memory;
RRPCP_EXPORT rrpcp_status rrpcp_memory_open(const rrpcp_checkpoint *checkpoint, size_t space,
                                            const char *trace_directory, int verify,
                                            rrpcp_memory **memory, rrpcp_error **error);
RRPCP_EXPORT void rrpcp_memory_close(rrpcp_memory *memory);
/* Reads `size` bytes at `address`; `done` is fewer where the range meets an address without contents
 * (unmapped, not stored, a guard page). */
RRPCP_EXPORT rrpcp_status rrpcp_memory_read(rrpcp_memory *memory, uint64_t address, void *buffer,
                                            size_t size, size_t *done, rrpcp_error **error);

/* The page data as it is stored. */
typedef struct rrpcp_chunk {
  uint64_t offset; /* in the file */
  uint32_t stored_length;
  uint32_t length; /* decoded */
  uint64_t checksum;
  uint64_t stored_checksum;
  uint32_t codec;
  uint32_t reserved;
} rrpcp_chunk;
RRPCP_EXPORT rrpcp_status rrpcp_get_chunk(const rrpcp_checkpoint *checkpoint, uint64_t index,
                                          rrpcp_chunk *chunk, size_t size, rrpcp_error **error);
/* Decodes `count` pages of the page stream from page `first` on into `buffer` (count * page_size
 * bytes), each verified. */
RRPCP_EXPORT rrpcp_status rrpcp_read_pages(const rrpcp_checkpoint *checkpoint, uint64_t first,
                                           uint64_t count, void *buffer, rrpcp_error **error);

/* ---- Judging -------------------------------------------------------------------------------- */

enum { RRPCP_LEVEL_STRUCTURE = 0, RRPCP_LEVEL_CHECKSUMS = 1, RRPCP_LEVEL_SEMANTICS = 2 };
enum { RRPCP_SEVERITY_INFO = 0, RRPCP_SEVERITY_WARNING = 1, RRPCP_SEVERITY_ERROR = 2 };

typedef struct rrpcp_finding {
  const char *code; /* spec/validation.md */
  const char *message;
  const char *hint;
  const char *path; /* place in the manifest; "" none */
  uint64_t offset;  /* byte of the file; UINT64_MAX none */
  int32_t severity;
  int32_t reserved;
} rrpcp_finding;

/* Everything that is wrong with a file, up to a level (pcp-validate). What the file holds is never a
 * failure of the call. */
typedef struct rrpcp_report rrpcp_report;
RRPCP_EXPORT rrpcp_status rrpcp_validate(const char *path, int level, rrpcp_report **report,
                                         rrpcp_error **error);
RRPCP_EXPORT void rrpcp_report_free(rrpcp_report *report);
/* 1: no finding is an error. */
RRPCP_EXPORT int rrpcp_report_valid(const rrpcp_report *report);
RRPCP_EXPORT size_t rrpcp_report_count(const rrpcp_report *report);
RRPCP_EXPORT void rrpcp_report_finding(const rrpcp_report *report, size_t index,
                                       rrpcp_finding *finding, size_t size);

/* ---- Writing -------------------------------------------------------------------------------- */

/* A manifest in the making. Its root node is the struct Manifest with the members `state` and
 * `provenance`. */
typedef struct rrpcp_draft rrpcp_draft;
RRPCP_EXPORT rrpcp_status rrpcp_draft_new(rrpcp_draft **draft, rrpcp_error **error);
/* A copy of a checkpoint's manifest, with what this release does not know. */
RRPCP_EXPORT rrpcp_status rrpcp_draft_copy(const rrpcp_checkpoint *checkpoint, rrpcp_draft **draft,
                                           rrpcp_error **error);
RRPCP_EXPORT void rrpcp_draft_free(rrpcp_draft *draft);
RRPCP_EXPORT rrpcp_node *rrpcp_draft_root(rrpcp_draft *draft);

/* Setting fields. Structs on the way are made, and arms of unions set, as the path says. Entries of
 * lists must be there: rrpcp_init_list() makes them. Fails for a value that the field has no room
 * for. */
RRPCP_EXPORT rrpcp_status rrpcp_set_u64(rrpcp_node *node, const char *path, uint64_t value,
                                        rrpcp_error **error);
RRPCP_EXPORT rrpcp_status rrpcp_set_i64(rrpcp_node *node, const char *path, int64_t value,
                                        rrpcp_error **error);
RRPCP_EXPORT rrpcp_status rrpcp_set_bytes(rrpcp_node *node, const char *path, const void *bytes,
                                          size_t size, rrpcp_error **error);
/* An enum, by the name of its value. */
RRPCP_EXPORT rrpcp_status rrpcp_set_name(rrpcp_node *node, const char *path, const char *name,
                                         rrpcp_error **error);
/* Makes a struct anew, with its defaults, or sets an arm of a union. */
RRPCP_EXPORT rrpcp_status rrpcp_init(rrpcp_node *node, const char *path, rrpcp_error **error);
RRPCP_EXPORT rrpcp_status rrpcp_init_list(rrpcp_node *node, const char *path, size_t count,
                                          rrpcp_error **error);
/* Sets the struct at `path` to what a JSON object says, in the form of spec/inspect-json.md
 * ("Messages"). Members that it does not have keep their defaults; one that the schema does not have
 * is an error. */
RRPCP_EXPORT rrpcp_status rrpcp_set_json(rrpcp_node *node, const char *path, const char *json,
                                         size_t size, rrpcp_error **error);

enum {
  RRPCP_PROFILE_DEFAULT = 0, /* zstd level 3 */
  RRPCP_PROFILE_RAW = 1,     /* as it is, page-aligned: can be mapped */
  RRPCP_PROFILE_FAST = 2,    /* zstd level 1 */
  RRPCP_PROFILE_SMALL = 3    /* zstd level 19 */
};

typedef struct rrpcp_write_options {
  size_t size; /* sizeof(rrpcp_write_options) */
  int32_t profile;
  uint32_t threads; /* that compress and hash; 0: as many as there are processors */
  int32_t seal;     /* other than 0: with SHA-256 digests */
  int32_t validate; /* other than 0: judge it by all rules before it gets its name, and refuse what is
                       not valid */
} rrpcp_write_options;

/* One checkpoint being written. The draft must say beforehand what the header needs: machine,
 * elfClass, dataEncoding, pageStream.pageSize, position and trace. Pages are then appended in any
 * order, and their runs put into the draft; finishing writes it. The file appears whole or not at all;
 * freeing a writer that was not finished leaves nothing behind. `options` may be NULL. */
typedef struct rrpcp_writer rrpcp_writer;
/* Into `directory`, which is made if need be, under the name that its position and id give it. */
RRPCP_EXPORT rrpcp_status rrpcp_write_directory(const char *directory, rrpcp_draft *draft,
                                                const rrpcp_write_options *options,
                                                rrpcp_writer **writer, rrpcp_error **error);
/* As the file `path`, which must not exist unless `replace` is not 0. */
RRPCP_EXPORT rrpcp_status rrpcp_write_file(const char *path, int replace, rrpcp_draft *draft,
                                           const rrpcp_write_options *options, rrpcp_writer **writer,
                                           rrpcp_error **error);
/* To a descriptor, a pipe too, in one pass; it stays the caller's. `validate` is not possible, and
 * what was written of an unfinished one is there and refused as incomplete. */
RRPCP_EXPORT rrpcp_status rrpcp_write_fd(int fd, const char *name, rrpcp_draft *draft,
                                         const rrpcp_write_options *options, rrpcp_writer **writer,
                                         rrpcp_error **error);
RRPCP_EXPORT void rrpcp_writer_free(rrpcp_writer *writer);

/* Where the bytes of a mapping or object are: rows of pages, in order, without gaps
 * (spec/model.md, "Runs"). */
typedef struct rrpcp_runs rrpcp_runs;
enum {
  RRPCP_RUN_ZERO = 0,
  RRPCP_RUN_BACKING = 2, /* the same place of the object, or of the file */
  RRPCP_RUN_UNKNOWN = 3, /* not stored */
  RRPCP_RUN_GUARD = 4
};
RRPCP_EXPORT rrpcp_status rrpcp_runs_new(rrpcp_runs **runs, rrpcp_error **error);
RRPCP_EXPORT void rrpcp_runs_free(rrpcp_runs *runs);
/* Appends `pages` pages of a kind that stores nothing. */
RRPCP_EXPORT rrpcp_status rrpcp_runs_add(rrpcp_runs *runs, int kind, uint64_t pages,
                                         rrpcp_error **error);
/* Stores `size` bytes, a whole number of pages, and appends where they are: pages of zeros cost
 * nothing, and one that was stored before is not stored again. */
RRPCP_EXPORT rrpcp_status rrpcp_writer_append(rrpcp_writer *writer, const void *pages, size_t size,
                                              rrpcp_runs *runs, rrpcp_error **error);
/* Sets the list of runs at `path` ("runs" of a mapping or object) and empties `runs`. */
RRPCP_EXPORT rrpcp_status rrpcp_set_runs(rrpcp_node *node, const char *path, rrpcp_runs *runs,
                                         rrpcp_error **error);
/* Writes the manifest and publishes the file. Runs that say no more than none are left out on the way
 * (spec/model.md, "No runs"). `id` gets the 16 bytes of the checkpoint id, `path` the name of the file
 * (NULL for a descriptor), to be freed with rrpcp_free(); both may be NULL. The writer can only be
 * freed afterwards. */
RRPCP_EXPORT rrpcp_status rrpcp_writer_finish(rrpcp_writer *writer, uint8_t *id, char **path,
                                              rrpcp_error **error);

/* XXH3-128 (seed 0), the digest of ranges of backing files: `high` and `low` 64 bits. */
RRPCP_EXPORT void rrpcp_digest(const void *bytes, size_t size, uint64_t *high, uint64_t *low);

#ifdef __cplusplus
}
#endif

#endif
