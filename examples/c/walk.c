/* Lists the checkpoints of a directory, shows the tasks of each, and writes one of its own into it.
 *
 *   walk DIRECTORY            lists
 *   walk --write DIRECTORY    writes a checkpoint of one page first */
#include <inttypes.h>
#include <rrpcp/rrpcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program where a call failed. */
static void check(rrpcp_status status, rrpcp_error *error) {
  if (status == RRPCP_OK) {
    return;
  }
  fprintf(stderr, "walk: %s\n", rrpcp_error_text(error));
  rrpcp_error_free(error);
  exit(1);
}

static void show(const char *path) {
  rrpcp_error *error = NULL;
  rrpcp_checkpoint *checkpoint = NULL;
  check(rrpcp_open(path, &checkpoint, &error), error);
  for (size_t t = 0; t < rrpcp_task_count(checkpoint); ++t) {
    rrpcp_task task;
    check(rrpcp_get_task(checkpoint, t, &task, sizeof task, &error), error);
    const void *registers = NULL;
    size_t size = 0;
    check(rrpcp_get_registers(checkpoint, t, 1, &registers, &size, &error), error);
    printf("  task %d \"%s\": %zu bytes of general registers\n", task.tid, task.name, size);
  }
  for (size_t s = 0; s < rrpcp_space_count(checkpoint); ++s) {
    size_t count = 0;
    uint64_t stored = 0;
    check(rrpcp_mapping_count(checkpoint, s, &count, &error), error);
    for (size_t m = 0; m < count; ++m) {
      rrpcp_mapping mapping;
      check(rrpcp_get_mapping(checkpoint, s, m, &mapping, sizeof mapping, &error), error);
      stored += mapping.stored_pages;
    }
    printf("  address space %zu: %zu mappings, %" PRIu64 " stored pages\n", s, count, stored);
  }
  rrpcp_close(checkpoint);
}

/* A checkpoint of a process with one page of memory. */
static void write_one(const char *directory) {
  static const char kState[] =
      "{\"machine\":62,\"elfClass\":2,\"dataEncoding\":1,\"producer\":\"org.rrpcp.process\","
      "\"pageStream\":{\"pageSize\":4096},\"inspectOnly\":true,"
      "\"processes\":[{\"pid\":7}],"
      "\"tasks\":[{\"tid\":7,\"name\":\"example\",\"process\":0,\"addressSpace\":0}],"
      "\"addressSpaces\":[{\"executablePath\":\"/bin/example\",\"mappings\":"
      "[{\"start\":\"65536\",\"end\":\"69632\",\"protection\":3,\"flags\":34}]}]}";
  static char page[4096] = "Hello, replay!";
  rrpcp_error *error = NULL;
  rrpcp_draft *draft = NULL;
  rrpcp_writer *writer = NULL;
  rrpcp_runs *runs = NULL;
  char *path = NULL;
  check(rrpcp_draft_new(&draft, &error), error);
  rrpcp_node *manifest = rrpcp_draft_root(draft);
  check(rrpcp_set_json(manifest, "state", kState, sizeof kState - 1, &error), error);
  check(rrpcp_set_bytes(manifest, "provenance.creator", "walk", 4, &error), error);
  /* NT_PRSTATUS of x86-64: 27 registers. */
  static const unsigned char kRegisters[216];
  check(rrpcp_init_list(manifest, "state.tasks[0].registers", 1, &error), error);
  check(rrpcp_set_u64(manifest, "state.tasks[0].registers[0].noteType", 1, &error), error);
  check(rrpcp_set_bytes(manifest, "state.tasks[0].registers[0].data", kRegisters,
                        sizeof kRegisters, &error),
        error);
  rrpcp_write_options options = {.size = sizeof options, .validate = 1};
  check(rrpcp_write_directory(directory, draft, &options, &writer, &error), error);
  check(rrpcp_runs_new(&runs, &error), error);
  check(rrpcp_writer_append(writer, page, sizeof page, runs, &error), error);
  check(rrpcp_set_runs(manifest, "state.addressSpaces[0].mappings[0].runs", runs, &error), error);
  check(rrpcp_writer_finish(writer, NULL, &path, &error), error);

  rrpcp_checkpoint *checkpoint = NULL;
  rrpcp_memory *memory = NULL;
  char text[15] = "";
  size_t done = 0;
  check(rrpcp_open(path, &checkpoint, &error), error);
  check(rrpcp_memory_open(checkpoint, 0, NULL, 1, &memory, &error), error);
  check(rrpcp_memory_read(memory, 65536, text, 14, &done, &error), error);
  printf("wrote and read back: %s\n", text);
  rrpcp_memory_close(memory);
  rrpcp_close(checkpoint);
  rrpcp_free(path);
  rrpcp_runs_free(runs);
  rrpcp_writer_free(writer);
  rrpcp_draft_free(draft);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--write") == 0) {
    write_one(argv[2]);
  } else if (argc != 2) {
    fprintf(stderr, "usage: walk [--write] DIRECTORY\n");
    return 2;
  }
  rrpcp_error *error = NULL;
  rrpcp_listing *listing = NULL;
  check(rrpcp_list(argv[argc - 1], &listing, &error), error);
  for (size_t i = 0; i < rrpcp_listing_count(listing); ++i) {
    const rrpcp_error *problem = rrpcp_listing_problem(listing, i);
    if (problem != NULL) {
      printf("%s: %s\n", rrpcp_listing_path(listing, i), rrpcp_error_text(problem));
      continue;
    }
    rrpcp_header header;
    rrpcp_listing_header(listing, i, &header, sizeof header);
    printf("event %" PRId64 ", %" PRIu64 " bytes\n", header.event, header.file_size);
    show(rrpcp_listing_path(listing, i));
  }
  rrpcp_listing_free(listing);
  return 0;
}
