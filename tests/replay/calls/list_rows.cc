// Prints the rows of the table of system calls, for rows_test.py: number, name, label, selector.
#include "trace/call_table.h"

#include <cstdio>

int main() {
  for (const rrpcp::trace::CallRow& row : rrpcp::trace::call_rows()) {
    std::printf("%ld\t%s\t%s\t%llu\n", row.number, std::string(row.name).c_str(),
                std::string(row.label).c_str(), static_cast<unsigned long long>(row.low));
  }
  return 0;
}
