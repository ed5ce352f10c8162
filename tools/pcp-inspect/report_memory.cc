// The address spaces in a report.

#include "common/console.h"
#include "common/names.h"
#include "common/text.h"
#include "pcp-inspect/report_parts.h"
#include "rrpcp/interop/segments.h"

#include <algorithm>
#include <map>

namespace rrpcp::tools {
namespace {

// Mappings closer than this are drawn in one picture.
constexpr std::uint64_t kGap = std::uint64_t{64} << 20;
constexpr std::uint64_t kBins = 400;
constexpr std::size_t kMostRegions = 64;
constexpr std::size_t kMostRows = 1000;

// What a picture tells apart.
enum Colour { kStored, kZero, kFile, kUnstored, kGuard, kColours };
constexpr const char* kStyles[kColours] = {"stored", "zero", "file", "unstored", "guard"};
constexpr const char* kNames[kColours] = {"stored in the checkpoint", "zeros, which cost nothing",
                                          "in mapped files", "not stored", "guard pages"};

using Amounts = std::array<std::uint64_t, kColours>;

Colour colour_of(Source source) {
  switch (source) {
  case Source::kStream:
    return kStored;
  case Source::kZero:
    return kZero;
  case Source::kFile:
    return kFile;
  case Source::kGuard:
    return kGuard;
  default:
    return kUnstored;
  }
}

struct Row {
  schema::Mapping::Reader mapping;
  std::vector<Segment> segments;
  Amounts amounts{}; // bytes
};

struct Region {
  std::uint64_t start;
  std::uint64_t end;
  std::size_t first; // rows
  std::size_t last;
};

std::string name_of(schema::Mapping::Reader mapping) {
  const auto name = mapping.getName();
  return name.size() == 0 ? "anonymous"
                          : html({reinterpret_cast<const char*>(name.begin()), name.size()});
}

std::string address(std::uint64_t value) {
  return format_text("%llx", static_cast<unsigned long long>(value));
}

std::vector<Row> rows_of(schema::State::Reader state, schema::AddressSpace::Reader space) {
  const std::uint64_t page_size = page_size_of(state);
  std::vector<Row> rows;
  for (const schema::Mapping::Reader mapping : space.getMappings()) {
    Row row{mapping, segments_of(state, mapping), {}};
    for (const Segment& segment : row.segments) {
      row.amounts[colour_of(segment.source)] += segment.pages * page_size;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Region> regions_of(const std::vector<Row>& rows) {
  std::vector<Region> regions;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint64_t start = rows[i].mapping.getStart();
    const std::uint64_t end = std::max(rows[i].mapping.getEnd(), start);
    if (!regions.empty() && start >= regions.back().end && start - regions.back().end < kGap) {
      regions.back().end = end;
      regions.back().last = i + 1;
    } else {
      regions.push_back({start, end, i, i + 1});
    }
  }
  return regions;
}

// The region from left to right: in each of some hundred columns how much of what there is, from
// the bottom up.
void draw(ReportPage& page, const std::vector<Row>& rows, const Region& region,
          std::uint64_t page_size) {
  const std::uint64_t length = std::max<std::uint64_t>(region.end - region.start, 1);
  const std::uint64_t bins =
      std::clamp<std::uint64_t>(length / std::max<std::uint64_t>(page_size, 1), 1, kBins);
  const double width = static_cast<double>(length) / static_cast<double>(bins);
  std::vector<std::array<double, kColours>> columns(bins);
  for (std::size_t i = region.first; i < region.last; ++i) {
    for (const Segment& segment : rows[i].segments) {
      double at =
          static_cast<double>(rows[i].mapping.getStart() - region.start + segment.page * page_size);
      double left = static_cast<double>(segment.pages * page_size);
      while (left > 0) {
        const auto bin = std::min(static_cast<std::uint64_t>(at / width), bins - 1);
        const double room =
            bin == bins - 1 ? left : std::max(static_cast<double>(bin + 1) * width - at, 1.0);
        const double part = std::min(left, room);
        columns[bin][colour_of(segment.source)] += part / width;
        at += part;
        left -= part;
      }
    }
  }
  std::string svg = format_text("<svg viewBox=\"0 0 %llu 100\" preserveAspectRatio=\"none\" "
                                "role=\"img\" aria-label=\"memory from %s to %s\">",
                                static_cast<unsigned long long>(bins),
                                address(region.start).c_str(), address(region.end).c_str());
  for (std::uint64_t i = 0; i < bins;) {
    std::uint64_t next = i + 1;
    while (next < bins && columns[next] == columns[i]) {
      ++next;
    }
    double base = 100;
    for (int colour = 0; colour < kColours; ++colour) {
      const double height = std::min(100 * columns[i][static_cast<std::size_t>(colour)], base);
      if (height > 0) {
        const double shown = std::min(std::max(height, 3.0), base);
        svg += format_text("<rect class=\"%s\" x=\"%llu\" y=\"%.1f\" width=\"%llu\" "
                           "height=\"%.1f\"/>",
                           kStyles[colour], static_cast<unsigned long long>(i), base - shown,
                           static_cast<unsigned long long>(next - i), shown);
        base -= shown;
      }
    }
    i = next;
  }
  svg += "</svg>";

  std::string names;
  std::size_t others = 0;
  std::vector<std::string> seen;
  for (std::size_t i = region.first; i < region.last; ++i) {
    std::string name = name_of(rows[i].mapping);
    name = name.substr(name.rfind('/') + 1);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      continue;
    }
    if (seen.size() == 8) {
      ++others;
      break;
    }
    names += (names.empty() ? "" : ", ") + name;
    seen.push_back(std::move(name));
  }
  page.raw("<div class=\"region\"><div><span class=\"mono\">" + address(region.start) +
           "</span>, " + human_size(length) + ": " + names + (others != 0 ? ", …" : "") + "</div>" +
           svg + "</div>\n");
}

std::vector<BarPart> bar_parts(const Amounts& amounts) {
  std::vector<BarPart> parts;
  for (std::size_t i = 0; i < kColours; ++i) {
    parts.push_back({kStyles[i], amounts[i], human_size(amounts[i]) + " " + kNames[i]});
  }
  return parts;
}

std::string kind_of(schema::State::Reader state, schema::Mapping::Reader mapping) {
  switch (mapping.getRole()) {
  case schema::MappingRole::STACK:
    return "initial stack";
  case schema::MappingRole::HEAP:
    return "heap";
  case schema::MappingRole::VDSO:
  case schema::MappingRole::VVAR:
  case schema::MappingRole::VSYSCALL:
    return "of the kernel";
  case schema::MappingRole::REPLAYER:
    return "of the replayer";
  default:
    break;
  }
  const std::uint32_t object = mapping.getObject();
  if (object >= state.getMemoryObjects().size()) {
    return "private anonymous memory";
  }
  if (!state.getMemoryObjects()[object].isFile()) {
    return "shared memory";
  }
  return (mapping.getFlags() & 1) != 0 ? "files, shared" : "files, private";
}

void report_costs(ReportPage& page, const CheckpointReader& reader,
                  const std::map<std::string, Amounts>& kinds) {
  page.heading(3, "What is stored, and what it costs");
  page.begin_table({"memory", ">mapped", ">stored", ">zeros", ">in files", ">not stored"});
  Amounts all{};
  const auto add = [&](const std::string& name, const Amounts& amounts) {
    std::uint64_t whole = 0;
    for (const std::uint64_t amount : amounts) {
      whole += amount;
    }
    page.row({name, human_size(whole), human_size(amounts[kStored]), human_size(amounts[kZero]),
              human_size(amounts[kFile]), human_size(amounts[kUnstored] + amounts[kGuard])});
  };
  for (const auto& [kind, amounts] : kinds) {
    add(html(kind), amounts);
    for (std::size_t i = 0; i < kColours; ++i) {
      all[i] += amounts[i];
    }
  }
  add("<b>all</b>", all);
  page.end_table();
  std::uint64_t stored = 0;
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    stored += reader.chunk(i).stored_length;
  }
  const std::uint64_t page_bytes = reader.footer().page_count * page_size_of(reader.state());
  std::uint64_t manifest = 0;
  if (const Section* section = reader.find_section(format::kSectionManifest)) {
    manifest = section->length;
  }
  page.paragraph("The file has " + human_size(reader.file_size()) + ": pages of " +
                 human_size(page_bytes) + " (each stored once) take " + human_size(stored) +
                 ", the manifest " + human_size(manifest) + ".");
  page.bar({{"stored", stored, "pages: " + human_size(stored)},
            {"unstored", manifest, "manifest: " + human_size(manifest)}},
           std::max<std::uint64_t>(reader.file_size(), stored + manifest));
}

void report_table(ReportPage& page, const std::vector<Row>& rows) {
  page.begin_details("All " + human_count(rows.size(), "mapping", "mappings"), false);
  page.begin_table({"address", ">size", "access", ">stored", ">zeros", ">in files", "what"});
  for (std::size_t i = 0; i < rows.size() && i < kMostRows; ++i) {
    const schema::Mapping::Reader mapping = rows[i].mapping;
    page.row({"<span class=\"mono\">" + address(mapping.getStart()) + "</span>",
              human_size(mapping.getEnd() - mapping.getStart()),
              "<span class=\"mono\">" + permissions(mapping.getProtection(), mapping.getFlags()) +
                  "</span>",
              human_size(rows[i].amounts[kStored]), human_size(rows[i].amounts[kZero]),
              human_size(rows[i].amounts[kFile]), name_of(mapping)});
  }
  page.end_table();
  if (rows.size() > kMostRows) {
    page.paragraph("… and " + std::to_string(rows.size() - kMostRows) +
                   " more: " + "<span class=\"mono\">pcp-inspect maps</span> lists them.");
  }
  page.end_details();
}

} // namespace

void report_memory(ReportPage& page, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  const std::uint64_t page_size = page_size_of(state);
  std::map<std::string, Amounts> kinds;
  const auto spaces = state.getAddressSpaces();
  for (unsigned i = 0; i < spaces.size(); ++i) {
    const std::vector<Row> rows = rows_of(state, spaces[i]);
    Amounts all{};
    std::uint64_t whole = 0;
    for (const Row& row : rows) {
      Amounts& kind = kinds[kind_of(state, row.mapping)];
      for (std::size_t colour = 0; colour < kColours; ++colour) {
        kind[colour] += row.amounts[colour];
        all[colour] += row.amounts[colour];
        whole += row.amounts[colour];
      }
    }
    page.heading(3, spaces.size() == 1 ? "Memory" : "Memory of address space " + std::to_string(i));
    std::string legend = "<div class=\"legend\">";
    for (std::size_t colour = 0; colour < kColours; ++colour) {
      if (all[colour] != 0) {
        legend += std::string("<span><i class=\"") + kStyles[colour] + "\"></i>" + kNames[colour] +
                  ": " + human_size(all[colour]) + "</span>";
      }
    }
    page.raw(legend + "</div>\n");
    page.bar(bar_parts(all), whole);
    const std::vector<Region> regions = regions_of(rows);
    for (std::size_t r = 0; r < regions.size() && r < kMostRegions; ++r) {
      draw(page, rows, regions[r], page_size);
    }
    if (regions.size() > kMostRegions) {
      page.paragraph("… and " + std::to_string(regions.size() - kMostRegions) +
                     " more places, not drawn.");
    }
    report_table(page, rows);
  }
  report_costs(page, reader, kinds);
}

} // namespace rrpcp::tools
