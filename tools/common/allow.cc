#include "common/allow.h"

#include "common/text.h"

#include <algorithm>
#include <string>
#include <vector>

namespace rrpcp::tools {

void add_allow(Command& command, const std::string& help) {
  command.add("allow", help, "NAME,...");
}

AllowList parse_allow(const Arguments& arguments) {
  AllowList allow;
  const std::vector<std::string>& known = allowable_names();
  for (const std::string& part : arguments.get_all("allow")) {
    for (const std::string& name : split_list(part)) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        const std::string guess = closest(name, known);
        throw UsageError("--allow: there is no '" + printable(name) + "'" +
                         (guess.empty() ? "" : "; did you mean '" + guess + "'?"));
      }
      allow.insert(name);
    }
  }
  return allow;
}

} // namespace rrpcp::tools
