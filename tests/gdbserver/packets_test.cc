// Framing of packets, and their words.

#include "gdbserver/packets.h"
#include "gdbserver/signals.h"
#include "gdbserver/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <string>

namespace rrpcp::gdbserver {
namespace {

using Kind = Incoming::Kind;

std::vector<Incoming> read_all(PacketReader& reader, std::string_view bytes) {
  reader.feed(bytes);
  std::vector<Incoming> all;
  while (std::optional<Incoming> incoming = reader.next()) {
    all.push_back(*std::move(incoming));
  }
  return all;
}

TEST(Packets, AreFoundWhereverTheStreamIsCut) {
  const std::string stream =
      "+$m4000,8#" + hex_byte(('m' + '4' + '0' * 3 + ',' + '8') & 0xff) + "\x03noise-$OK#9a";
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    PacketReader reader;
    std::vector<Incoming> all = read_all(reader, std::string_view(stream).substr(0, cut));
    for (Incoming& incoming : read_all(reader, std::string_view(stream).substr(cut))) {
      all.push_back(std::move(incoming));
    }
    ASSERT_EQ(all.size(), 4U) << cut;
    EXPECT_EQ(all[0].payload, "m4000,8");
    EXPECT_EQ(all[1].kind, Kind::kInterrupt);
    EXPECT_EQ(all[2].kind, Kind::kSentAgain);
    EXPECT_EQ(all[3].payload, "OK");
  }
}

TEST(Packets, WrongChecksumIsToldUntilItIsTrusted) {
  PacketReader reader;
  EXPECT_EQ(read_all(reader, "$OK#9b").at(0).kind, Kind::kDamaged);
  EXPECT_EQ(read_all(reader, "$OK#zz").at(0).kind, Kind::kDamaged);
  reader.trust();
  EXPECT_EQ(read_all(reader, "$OK#00").at(0).payload, "OK");
}

TEST(Packets, OneThatIsTooLongIsDroppedAndTheNextIsRead) {
  PacketReader reader;
  const std::string long_one(kMostPacketBytes + 1, 'a');
  EXPECT_TRUE(read_all(reader, "$" + long_one).empty());
  EXPECT_TRUE(read_all(reader, long_one).empty());
  const std::vector<Incoming> rest = read_all(reader, "b#00$OK#9a");
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest[0].kind, Kind::kTooLong);
  EXPECT_EQ(rest[1].payload, "OK");
}

RC_GTEST_PROP(Packets, ComeBackAsTheyWereSent, (const std::string& bytes)) {
  PacketReader reader;
  const std::vector<Incoming> all = read_all(reader, framed("X0,1:" + escaped(bytes)));
  RC_ASSERT(all.size() == 1U);
  Words words(all[0].payload);
  words.expect("X0,1:");
  RC_ASSERT(words.binary_bytes() == bytes);
}

RC_GTEST_PROP(Words, HexadecimalIsReversible, (const std::string& bytes, std::uint64_t number)) {
  RC_ASSERT(from_hex(to_hex(bytes)) == bytes);
  const std::string text = hex_number(number) + ",rest";
  Words words(text);
  RC_ASSERT(words.hexadecimal() == number);
  RC_ASSERT(words.rest() == ",rest");
}

TEST(Words, WhatIsWrongIsRefused) {
  EXPECT_THROW(Words("").hexadecimal(), BadPacket);
  EXPECT_THROW(Words("x").hexadecimal(), BadPacket);
  EXPECT_THROW(Words("10000000000000000").hexadecimal(), BadPacket);
  EXPECT_THROW(Words("abc").hexadecimal_bytes(), BadPacket);
  EXPECT_THROW(Words("a}").binary_bytes(), BadPacket);
  EXPECT_EQ(Words("-1").signed_hexadecimal(), -1);
  EXPECT_EQ(signed_hex_number(-31), "-1f");
}

TEST(Signals, AreTranslatedBothWays) {
  EXPECT_EQ(to_protocol_signal(SIGSEGV), 11);
  EXPECT_EQ(to_protocol_signal(SIGBUS), 10);
  EXPECT_EQ(to_protocol_signal(SIGUSR1), 30);
  EXPECT_EQ(to_protocol_signal(SIGCHLD), 20);
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal != SIGSTKFLT) {
      EXPECT_EQ(from_protocol_signal(to_protocol_signal(signal)), signal) << signal;
    }
  }
}

} // namespace
} // namespace rrpcp::gdbserver
