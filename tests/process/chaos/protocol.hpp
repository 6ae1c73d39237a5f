#pragma once

// What the storm of chaos_test.cpp asks of its worker, hosts/chaos.cpp, and the ledger in which
// both note what became of each call.

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tether_test::chaos {

/// Each call has a token of its own, and so has all content that belongs to it.
using Token = std::uint64_t;

struct Echoed {
    Token token{};
    tether::Bytes blob{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Echoed, token, blob)

/// Answers with its token and `answer_size` bytes that show the token.
struct Once {
    static constexpr std::string_view name = "once";
    using Response = Echoed;
    Token token{};
    std::uint64_t answer_size{};
    tether::Bytes blob{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Once, token, answer_size, blob)

/// The same, and may be done twice.
struct Again {
    static constexpr std::string_view name = "again";
    using Response = Echoed;
    static constexpr bool idempotent = true;
    Token token{};
    std::uint64_t answer_size{};
    tether::Bytes blob{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Again, token, answer_size, blob)

/// Does something else. what: poll, token (both pause, and heed that they shall stop), ignore
/// (pauses whatever it is told), spawn (starts a process that would outlive the worker). The others
/// have no answer: error, exception, bad_alloc, exit, abort, segfault, garbage, stray (an answer to
/// a call that nobody made), half, close.
struct Do {
    static constexpr std::string_view name = "do";
    using Response = Token;
    Token token{};
    std::string what{};
    std::int64_t milliseconds{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Do, token, what, milliseconds)

struct Say {
    static constexpr std::string_view name = "say";
    using Response = void;
    Token token{};
    std::int64_t lines{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Say, token, lines)

struct ChaosProtocol {
    static constexpr std::string_view name = "tether.test.chaos";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Once, Again, Do, Say>;
};

[[nodiscard]] inline std::uint64_t pattern_word(Token token, std::size_t index) noexcept {
    return token * 0x9e3779b97f4a7c15U + index * 0xd1b54a32d192ed03U;
}

[[nodiscard]] inline tether::Bytes pattern(Token token, std::size_t size) {
    tether::Bytes bytes(size);
    for (std::size_t at = 0; at < size; at += 8) {
        const auto word = pattern_word(token, at / 8);
        std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
    }
    return bytes;
}

[[nodiscard]] inline bool is_pattern(const tether::Bytes& bytes, Token token, std::size_t size) {
    if (bytes.size() != size) return false;
    for (std::size_t at = 0; at < size; at += 8) {
        const auto word = pattern_word(token, at / 8);
        if (std::memcmp(bytes.data() + at, &word, std::min<std::size_t>(8, size - at)) != 0) {
            return false;
        }
    }
    return true;
}

/// What became of a call, as its caller was told.
enum class Verdict : std::uint8_t {
    none,     ///< not settled yet
    ran,      ///< its handler has run
    never,    ///< its handler has not run and will not
    unknown,  ///< it may have run
};

/// A file that the test and all of its workers have in memory, two bytes for each call.
class Ledger {
public:
    static constexpr Token capacity = Token{1} << 25;

    explicit Ledger(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd == -1) throw std::system_error(errno, std::system_category(), "open " + path);
        void* memory = MAP_FAILED;
        if (::ftruncate(fd, size) == 0) {
            memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        ::close(fd);
        if (memory == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
        entries_ = static_cast<Entry*>(memory);
    }
    Ledger(const Ledger&) = delete;
    Ledger& operator=(const Ledger&) = delete;
    ~Ledger() { ::munmap(entries_, size); }

    /// The handler begins.
    void note_run(Token token) noexcept { ++at(token).runs; }
    [[nodiscard]] int runs(Token token) const noexcept { return at(token).runs & ~idempotent_bit; }

    /// Returns what had been noted before.
    Verdict note(Token token, Verdict verdict) noexcept {
        return at(token).verdict.exchange(verdict);
    }
    [[nodiscard]] Verdict verdict(Token token) const noexcept { return at(token).verdict; }
    void note_idempotent(Token token) noexcept { at(token).runs = idempotent_bit; }
    [[nodiscard]] bool is_idempotent(Token token) const noexcept {
        return (at(token).runs & idempotent_bit) != 0;
    }
    static constexpr int idempotent_bit = 0x80;

    /// The storm is over: no worker misbehaves of its own accord from now on.
    void set_calm() noexcept { at(0).runs = 1; }
    [[nodiscard]] bool calm() const noexcept { return at(0).runs != 0; }

private:
    struct Entry {
        std::atomic<std::uint8_t> runs;
        std::atomic<Verdict> verdict;
    };
    static constexpr std::size_t size = capacity * sizeof(Entry);

    [[nodiscard]] Entry& at(Token token) const noexcept { return entries_[token % capacity]; }

    Entry* entries_;
};

}  // namespace tether_test::chaos
