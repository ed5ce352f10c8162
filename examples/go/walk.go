// Lists the checkpoints of a directory and shows the tasks of each, through the C interface.
package main

/*
#cgo pkg-config: rrpcp-c
#include <rrpcp/rrpcp.h>
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

// check ends the program where a call failed.
func check(status C.rrpcp_status, failure *C.rrpcp_error) {
	if status == C.RRPCP_OK {
		return
	}
	fmt.Fprintln(os.Stderr, "walk:", C.GoString(C.rrpcp_error_text(failure)))
	C.rrpcp_error_free(failure)
	os.Exit(1)
}

func show(path *C.char) {
	var failure *C.rrpcp_error
	var checkpoint *C.rrpcp_checkpoint
	check(C.rrpcp_open(path, &checkpoint, &failure), failure)
	defer C.rrpcp_close(checkpoint)
	for t := C.size_t(0); t < C.rrpcp_task_count(checkpoint); t++ {
		var task C.rrpcp_task
		check(C.rrpcp_get_task(checkpoint, t, &task, C.sizeof_rrpcp_task, &failure), failure)
		name := C.GoStringN(task.name, C.int(task.name_size))
		fmt.Printf("  task %d %q\n", task.tid, name)
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: walk DIRECTORY")
		os.Exit(2)
	}
	directory := C.CString(os.Args[1])
	defer C.free(unsafe.Pointer(directory))
	var failure *C.rrpcp_error
	var listing *C.rrpcp_listing
	check(C.rrpcp_list(directory, &listing, &failure), failure)
	defer C.rrpcp_listing_free(listing)
	for i := C.size_t(0); i < C.rrpcp_listing_count(listing); i++ {
		if problem := C.rrpcp_listing_problem(listing, i); problem != nil {
			fmt.Println(C.GoString(C.rrpcp_error_text(problem)))
			continue
		}
		var header C.rrpcp_header
		C.rrpcp_listing_header(listing, i, &header, C.sizeof_rrpcp_header)
		fmt.Printf("event %d, %d bytes\n", header.event, header.file_size)
		show(C.rrpcp_listing_path(listing, i))
	}
}
