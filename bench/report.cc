#include "report.h"

#include "common/table.h"
#include "common/text.h"
#include "measure.h"

#include <cstdlib>
#include <fstream>
#include <sys/utsname.h>

namespace rrpcp::bench {

namespace {

std::string value_text(Unit unit, std::uint64_t value) {
  return unit == Unit::kBytes ? tools::human_size(value) : tools::human_duration(value);
}

std::string speed_text(std::uint64_t bytes, std::uint64_t nanoseconds) {
  if (bytes == 0 || nanoseconds == 0) {
    return "";
  }
  return tools::format_text("%.2f GB/s",
                            static_cast<double>(bytes) / static_cast<double>(nanoseconds));
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown";
}

std::string kernel_release() {
  utsname name;
  return ::uname(&name) == 0 ? name.release : "unknown";
}

double load() {
  double value = 0;
  return ::getloadavg(&value, 1) == 1 ? value : 0;
}

} // namespace

double Row::ratio() const {
  return figure == 0 ? 0 : static_cast<double>(baseline) / static_cast<double>(figure);
}

bool Row::met() const {
  return (least_ratio <= 0 || ratio() >= least_ratio) && (most == 0 || figure <= most);
}

std::string Row::target_text() const {
  if (least_ratio > 0) {
    return tools::format_text(">= %.0f %%", least_ratio * 100);
  }
  return most > 0 ? "<= " + value_text(unit, most) : "";
}

void Report::print(tools::Console& console) const {
  tools::Table table({{"what"},
                      {"of"},
                      {"measured", true},
                      {"speed", true},
                      {"baseline", true},
                      {"speed", true},
                      {"ratio", true},
                      {"target", true},
                      {"met"},
                      {"baseline is"}});
  for (const Row& row : rows_) {
    const bool compared = !row.baseline_name.empty();
    table.add({row.what, row.size, value_text(row.unit, row.figure),
               speed_text(row.bytes, row.figure),
               compared ? value_text(row.unit, row.baseline) : "",
               compared ? speed_text(row.bytes, row.baseline) : "",
               compared ? tools::format_text("%.0f %%", row.ratio() * 100) : "", row.target_text(),
               row.has_target() ? (row.met() ? "yes" : "NO") : "", row.baseline_name});
  }
  table.print(console);
}

void Report::write_json(tools::Console& console, unsigned rounds) const {
  tools::Json document;
  document["machine"] = {{"processor", processor_name()},
                         {"processors", processors()},
                         {"kernel", kernel_release()},
                         {"loadAverage", load()}};
  document["rounds"] = rounds;
  document["rows"] = tools::Json::array();
  for (const Row& row : rows_) {
    tools::Json out;
    out["what"] = row.what;
    out["size"] = row.size;
    out["unit"] = row.unit == Unit::kBytes ? "bytes" : "nanoseconds";
    out["figure"] = row.figure;
    out["bytes"] = row.bytes;
    if (!row.baseline_name.empty()) {
      out["baseline"] = row.baseline;
      out["baselineIs"] = row.baseline_name;
      out["ratio"] = row.ratio();
    }
    if (row.least_ratio > 0) {
      out["targetRatio"] = row.least_ratio;
    }
    if (row.most > 0) {
      out["targetMost"] = row.most;
    }
    if (row.has_target()) {
      out["met"] = row.met();
    }
    document["rows"].push_back(std::move(out));
  }
  console.write_json(document);
}

} // namespace rrpcp::bench
