// Why: when a worker has ended, a caller asks whether its request may have had an effect. In memory
// that both processes share, the worker notes each request before its handler begins, and copies
// the answers that it holds back. That memory survives the worker, whatever ended it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/wire/frame_reader.hpp>
#include <tether/detail/wire/outgoing_message.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The shared memory, zeros at first; docs/wire-protocol.md has the layout. The parent trusts it no
// more than an answer.
struct LedgerPages {
    // Enough for the requests of one buffer of the reader, so that `passed` seldom matters.
    static constexpr std::size_t noted = 4096;
    static constexpr std::size_t held_room = std::size_t{64} * 1024;

    std::uint32_t used = 0;       // the worker's: how many calls it runs at once; it notes them
    std::uint32_t closed = 0;     // the parent's: nothing may begin any more
    std::uint32_t held_size = 0;  // the worker's: of `held`
    std::uint32_t tidy = 0;       // the worker's: it has ended what it started, and ends itself
    std::array<std::uint64_t, noted> begun{};  // the worker's: numbers of requests
    std::array<char, held_room> held{};        // the worker's: whole frames
    // The worker's: a request up to this number may have begun, even if `begun` does not have it.
    // An entry may be overwritten while its handler still runs, or before its answer has reached
    // the parent.
    std::uint64_t passed = 0;
};
static_assert(FrameReader::buffer_size / (FrameHeader::size + MessageHead::size) + 1024 <=
              LedgerPages::noted);

// The worker's side. `pages` may be null: then nothing is noted. One thread at a time.
class LedgerWriter {
public:
    // `calls`: how many may run at once.
    explicit LedgerWriter(void* pages = nullptr, std::uint32_t calls = 1) noexcept
        : pages_(static_cast<LedgerPages*>(pages)) {
        if (pages_ != nullptr) std::atomic_ref{pages_->used}.store(calls);
    }

    // Called before the handler of this request begins. False: it must not begin, because the
    // parent has closed the ledger. Both sides write first and then read, so either the parent
    // finds the number or the worker finds the ledger closed.
    [[nodiscard]] bool begin(std::uint64_t number) noexcept {
        if (pages_ == nullptr) return true;
        if (next_ == 0) pass();
        std::atomic_ref{pages_->begun[next_]}.exchange(number);
        next_ = (next_ + 1) % LedgerPages::noted;
        return std::atomic_ref{pages_->closed}.load() == 0;
    }

    // Keeps a copy of an answer that is held back. `first`: all earlier answers have left. False:
    // there is no room.
    [[nodiscard]] bool hold(const OutgoingMessage& answer, bool first) noexcept {
        if (pages_ == nullptr) return true;
        const std::atomic_ref held_size{pages_->held_size};
        if (first) {
            held_ = 0;
            held_size.store(0);
        }
        if (answer.wire_size() > LedgerPages::held_room - held_) return false;
        answer.copy_rest_of_frame(pages_->held.data() + held_);
        held_ += static_cast<std::size_t>(answer.wire_size());
        held_size.store(static_cast<std::uint32_t>(held_));
        return true;
    }

    // No process that this worker started is left.
    void set_tidy() noexcept {
        if (pages_ != nullptr) std::atomic_ref{pages_->tidy}.store(1);
    }

private:
    // From now on entries may be overwritten.
    void pass() noexcept {
        const auto& begun = pages_->begun;
        std::atomic_ref{pages_->passed}.store(*std::max_element(begun.begin(), begun.end()));
    }

    LedgerPages* pages_;
    std::size_t next_ = 0;
    std::size_t held_ = 0;
};

// Which requests a worker has begun.
class Begun {
public:
    // Nothing is known.
    Begun() = default;
    explicit Begun(std::vector<std::uint64_t> numbers, std::uint64_t passed = 0)
        : known_(true), passed_(passed), numbers_(std::move(numbers)) {
        std::sort(numbers_.begin(), numbers_.end());
    }
    [[nodiscard]] bool known() const noexcept { return known_; }
    // `whole`: the request had left as a whole. Otherwise it can have begun only if the worker had
    // no memory for it and noted that.
    [[nodiscard]] bool contains(std::uint64_t number, bool whole = true) const noexcept {
        return (whole && number <= passed_) ||
               std::binary_search(numbers_.begin(), numbers_.end(), number);
    }

private:
    bool known_ = false;
    std::uint64_t passed_ = 0;
    std::vector<std::uint64_t> numbers_;
};

// The parent's side. `pages` may be null. `surely_used`: the worker's program is known to use
// Tether; then a ledger that is unused before the welcome means that nothing has begun.
// Thread-safe.
class Ledger {
public:
    explicit Ledger(void* pages = nullptr, bool surely_used = false) noexcept
        : pages_(static_cast<LedgerPages*>(pages)), surely_used_(surely_used) {}

    // How many calls the worker runs at once at most; 0: it has not said so.
    [[nodiscard]] std::uint32_t calls_at_once() const noexcept {
        return pages_ == nullptr ? 0 : std::atomic_ref{pages_->used}.load();
    }

    // From now on no further request begins.
    void close() const noexcept {
        if (pages_ != nullptr) std::atomic_ref{pages_->closed}.store(1);
    }

    // `welcomed`: the worker's welcome has come.
    [[nodiscard]] Begun look(bool welcomed) const {
        if (pages_ == nullptr) return {};
        const bool used = std::atomic_ref{pages_->used}.load() != 0;
        if (!used && (welcomed || !surely_used_)) return {};
        std::vector<std::uint64_t> numbers;
        for (auto& entry : pages_->begun) {
            const auto number = std::atomic_ref{entry}.load();
            if (number != 0) numbers.push_back(number);
        }
        // Read last: it covers a number that was overwritten during the loop.
        return Begun{std::move(numbers), std::atomic_ref{pages_->passed}.load()};
    }

    [[nodiscard]] bool tidy() const noexcept {
        return pages_ != nullptr && std::atomic_ref{pages_->tidy}.load() != 0;
    }

    // The answers that were held back when the worker ended, among others that have left.
    [[nodiscard]] std::string held() const {
        if (pages_ == nullptr) return {};
        const std::size_t size = std::atomic_ref{pages_->held_size}.load();
        return {pages_->held.data(), std::min(size, LedgerPages::held_room)};
    }

private:
    LedgerPages* pages_;
    bool surely_used_;
};

}  // namespace detail
TETHER_NAMESPACE_END
