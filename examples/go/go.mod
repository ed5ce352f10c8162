module rrpcp.org/examples/walk

go 1.19
