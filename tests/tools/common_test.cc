// What the commands share.

#include "common/command.h"
#include "common/json_writer.h"
#include "common/table.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "support/temp_dir.h"

#include <fcntl.h>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

// A console that writes into a file.
class CapturedConsole {
public:
  CapturedConsole()
      : path_(dir_.file("out")), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
        console_("test", fd_) {}
  ~CapturedConsole() { ::close(fd_); }

  Console& console() { return console_; }
  std::string text() {
    console_.flush();
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

private:
  test::TempDir dir_;
  std::string path_;
  int fd_;
  Console console_;
};

TEST(Text, SizesAreRoundedToUnits) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(150 * 1024), "150 KiB");
  EXPECT_EQ(human_size(1048575), "1.0 MiB");
  EXPECT_EQ(human_size(UINT64_MAX), "16.0 EiB");
}

TEST(Text, DurationsHaveThreeDigitsOrTwoUnits) {
  EXPECT_EQ(human_duration(999), "999 ns");
  EXPECT_EQ(human_duration(12500), "12.5 us");
  EXPECT_EQ(human_duration(3400000), "3.40 ms");
  EXPECT_EQ(human_duration(12000000000), "12.0 s");
  EXPECT_EQ(human_duration(200000000000), "3 min 20 s");
  EXPECT_EQ(human_duration(7500000000000), "2 h 5 min");
}

TEST(Text, TimesAreUtc) {
  EXPECT_EQ(human_time(0), "not recorded");
  EXPECT_EQ(human_time(1750000000123456789), "2025-06-15 15:06:40 UTC");
  EXPECT_EQ(human_time(-1), "1969-12-31 23:59:59 UTC");
}

TEST(Text, NumbersAreReadExactly) {
  EXPECT_EQ(parse_number("18446744073709551615", "it"), UINT64_MAX);
  EXPECT_EQ(parse_number("0xffffffffffffffff", "it"), UINT64_MAX);
  EXPECT_EQ(parse_size("4K", "it"), 4096u);
  EXPECT_EQ(parse_size("3MiB", "it"), 3u << 20);
  EXPECT_EQ(parse_size("0x10", "it"), 16u);
  for (const char* bad : {"", "x", "-1", "0x", "1.5", "18446744073709551616", "4 K", " 4"}) {
    EXPECT_THROW(parse_number(bad, "it"), UsageError) << bad;
    EXPECT_THROW(parse_size(bad, "it"), UsageError) << bad;
  }
  EXPECT_THROW(parse_size("12iB", "it"), UsageError);
  EXPECT_THROW(parse_size("16E", "it"), UsageError);
  EXPECT_THROW(parse_number("101", "it", 100), UsageError);
}

TEST(Text, OnlyWellFormedUtf8IsUtf8) {
  for (const char* good : {"", "a", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x7f",
                           "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << printable(good);
  }
  for (const char* bad :
       {"\xff", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\x80", "\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(bad)) << printable(bad);
  }
}

TEST(Text, PrintableTextCannotControlATerminal) {
  EXPECT_EQ(printable("a\x1b[31m\n\\\xff caf\xc3\xa9"), "a\\x1b[31m\\x0a\\\\\\xff caf\xc3\xa9");
  EXPECT_EQ(printable("\xc2\x9b"
                      "1m"),
            "\\xc2\\x9b1m"); // the one-character CSI
}

TEST(Text, CloseWordsAreFound) {
  const std::vector<std::string> words = {"info", "maps", "diff"};
  EXPECT_EQ(closest("inof", words), "info");
  EXPECT_EQ(closest("dif", words), "diff");
  EXPECT_EQ(closest("checkpoint.pcp", words), "");
}

TEST(Json, TextThatIsNoUtf8KeepsItsBytes) {
  EXPECT_EQ(json_bytes_as_text("caf\xc3\xa9").dump(), "\"caf\xc3\xa9\"");
  EXPECT_EQ(json_bytes_as_text("/tmp/\xff").dump(), R"({"bytes":"2f746d702fff"})");
  EXPECT_EQ(json_bytes_as_text("").dump(), "\"\"");
}

TEST(Json, ErrorsNameCodeFileAndByte) {
  const Error error = Error(ErrorCode::kDamaged, "bad").in_file("x.pcp").at(7).with_hint("cure");
  EXPECT_EQ(
      json_error(error).dump(),
      R"({"error":{"code":"damaged","message":"bad","file":"x.pcp","offset":"7","hint":"cure"}})");
  EXPECT_EQ(json_error(Error(ErrorCode::kLimit, "much")).dump(),
            R"({"error":{"code":"limit","message":"much","file":null,"offset":null,"hint":null}})");
}

// spec/inspect-json.md, "Numbers": the type decides.
TEST(Json, IntegersOf64BitsAreStrings) {
  const Json document = {{"u64", std::uint64_t{1}}, {"i64", std::int64_t{-2}},  {"u32", 3u},
                         {"i32", -4},               {"size", std::size_t{5}},   {"u8", std::uint8_t{6}},
                         {"most", UINT64_MAX},      {"long", 7l}};
  EXPECT_EQ(document.dump(), R"({"u64":"1","i64":"-2","u32":3,"i32":-4,"size":"5","u8":6,)"
                             R"("most":"18446744073709551615","long":"7"})");
}

TEST(Json, WrittenPieceByPieceItIsTheSameText) {
  const Json inner = {{"list", Json::array({1, Json::array(), Json::object()})}, {"x", nullptr}};
  const Json whole = {{"number", UINT64_MAX}, {"negative", INT64_MIN},      {"yes", true},
                      {"text", "q\"\\\n"},    {"bytes", {{"bytes", "ff"}}}, {"inner", inner},
                      {"none", nullptr},      {"empty", Json::array()},     {"list", {1, inner}}};
  CapturedConsole captured;
  JsonWriter json(captured.console());
  json.begin_object();
  json.key("number");
  json.number(UINT64_MAX);
  json.key("negative");
  json.number(INT64_MIN);
  json.key("yes");
  json.boolean(true);
  json.key("text");
  json.string("q\"\\\n");
  json.key("bytes");
  json.bytes_as_text("\xff");
  json.key("inner");
  json.value(inner);
  json.key("none");
  json.null();
  json.key("empty");
  json.begin_array();
  json.end_array();
  json.key("list");
  json.begin_array();
  json.number(1);
  json.value(inner);
  json.end_array();
  json.end_object();
  json.finish();
  EXPECT_EQ(captured.text(), json_text(whole) + "\n");
}

TEST(Table, ColumnsAreAsWideAsTheirCells) {
  CapturedConsole captured;
  Table table({{"N", true}, {"NAME"}, {"WHAT"}});
  table.add({"10", "caf\xc3\xa9", "x"});
  table.add({"5", "much longer", ""});
  table.print(captured.console());
  EXPECT_EQ(captured.text(), " N  NAME         WHAT\n"
                             "10  caf\xc3\xa9         x\n"
                             " 5  much longer\n");
}

TEST(Command, ArgumentsMayHoldCommasAndLookLikeOptions) {
  CapturedConsole captured;
  Command command({"test", "FILE...", "Tests."});
  command.add_json().add_quiet();
  const char* const argv[] = {"test", "a,b", "--json", "-q", "--", "-x", ""};
  const Arguments arguments = command.parse(7, argv, captured.console());
  EXPECT_EQ(arguments.positional(), (std::vector<std::string>{"a,b", "-x", ""}));
  EXPECT_TRUE(captured.console().json);
  EXPECT_TRUE(captured.console().quiet);
  EXPECT_THROW(arguments.expect(4, 5, "FILE"), UsageError);
  EXPECT_THROW(arguments.expect(0, 2, "FILE"), UsageError);
}

TEST(Command, WrongOptionsAreUsageErrors) {
  CapturedConsole captured;
  Command command({"test", "FILE...", "Tests."});
  command.add("level", "a level", "LEVEL");
  const char* const unknown[] = {"test", "--wrong"};
  EXPECT_THROW(command.parse(2, unknown, captured.console()), UsageError);
  const char* const missing[] = {"test", "--level"};
  EXPECT_THROW(command.parse(2, missing, captured.console()), UsageError);
}

// What run_tool makes of what a body throws: its exit code.
int code_of(const std::function<void()>& body) {
  char name[] = "test";
  char* arguments[] = {name, nullptr};
  return run_tool("test", 1, arguments, [&](int, char**, Console&) {
    body();
    return 0;
  });
}

TEST(RunTool, EveryExceptionEndsInASentence) {
  EXPECT_EQ(code_of([] {}), kExitOk);
  EXPECT_EQ(code_of([] { throw std::runtime_error("something"); }), kExitTrouble);
  EXPECT_EQ(code_of([] { throw std::bad_alloc(); }), kExitTrouble);
  EXPECT_EQ(code_of([] { throw std::length_error("too long"); }), kExitTrouble);
  EXPECT_EQ(code_of([] {
              throw std::system_error(
                  std::make_error_code(std::errc::resource_unavailable_try_again));
            }),
            kExitTrouble);
}

TEST(RunToolDeathTest, FileThatIsCutEndsInASentence) {
  test::TempDir dir;
  const std::string path = dir.file("cut");
  std::ofstream(path) << std::string(8192, 'x');
  EXPECT_EXIT(code_of([&] {
                const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
                const volatile char* bytes = static_cast<const volatile char*>(
                    ::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 0));
                if (::ftruncate(fd, 0) == 0 && bytes[5000] == 'x') {
                  throw std::runtime_error("it can be read");
                }
              }),
              testing::ExitedWithCode(kExitTrouble), "test: a file was cut");
}

} // namespace
} // namespace rrpcp::tools
