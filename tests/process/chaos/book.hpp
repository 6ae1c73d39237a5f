#pragma once

// Who waits for what since when, whether that is right how it ended, and what happened around it.

#include <tether/tether.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "process/chaos/plan.hpp"

namespace tether_test::chaos {

/// What happened lately, for whoever must find out why something failed.
class Log {
public:
    void add(const std::string& text) {
        const std::scoped_lock lock{mutex_};
        entries_.push_back(std::to_string(watch_.elapsed().count()) + " ms: " + text);
        if (entries_.size() > 60) entries_.pop_front();
    }
    [[nodiscard]] std::string text() const {
        const std::scoped_lock lock{mutex_};
        std::string text;
        for (const auto& entry : entries_) text += "  " + entry + "\n";
        return text;
    }

private:
    mutable std::mutex mutex_;
    Stopwatch watch_;
    std::deque<std::string> entries_;
};

/// What an error says that the plan does not explain; empty when all is well.
class Judge {
public:
    Judge(const Plan& plan, const Site& site, Token token, tether::Duration took)
        : plan_(plan), site_(site), token_(token), took_(took) {}

    [[nodiscard]] std::string judge(const tether::RemoteError& error) const {
        const bool expected = plan_.kind == Kind::break_down &&
                              (plan_.what == "error" || plan_.what == "exception") &&
                              error.message() == std::to_string(token_);
        if (expected || (plan_.what == "bad_alloc" && error.remote_code() == "bad_alloc"))
            return {};
        return "an error of another handler";
    }

    [[nodiscard]] std::string judge(const tether::CallError& error) const {
        using tether::errc;
        const auto is = [&](errc cause) { return error.code() == cause; };
        if (is(errc::outcome_unknown) && plan_.is_idempotent()) {
            return "the outcome of an idempotent call does not matter";
        }
        if (is(errc::worker_exited) || is(errc::worker_killed) || is(errc::worker_stuck)) {
            return error.report() != nullptr ? "" : "there is no report";
        }
        if (is(errc::start_failed) || is(errc::stopped)) return {};
        if (is(errc::timeout)) return judge_timeout();
        if (is(errc::cancelled)) return judge_cancelled(is(errc::outcome_unknown));
        if (is(errc::start_timeout)) return unless(site_.is_hasty, "nothing starts that slowly");
        if (is(errc::restart_budget_spent)) return unless(site_.has_budget, "there is no budget");
        if (is(errc::framing)) {
            return unless(site_.meddles || is_about_lost_connection(error), "nobody sent garbage");
        }
        if (is(errc::message_too_large)) {
            return unless(plan_.may_be_too_large(site_), "it is small enough");
        }
        return "this cannot happen here";
    }

private:
    static std::string unless(bool expected, const char* complaint) {
        return expected ? "" : complaint;
    }

    /// Whoever is told to terminate stops listening, and may take too long to end.
    static bool is_about_lost_connection(const tether::CallError& error) {
        const std::string_view text{error.what()};
        return text.find("nothing could be sent to it") != text.npos ||
               text.find("its connection failed") != text.npos ||
               text.find("it closed its connection") != text.npos;
    }

    [[nodiscard]] std::string judge_timeout() const {
        if (plan_.timeout == tether::no_timeout) return "it has no timeout";
        if (took_ < plan_.timeout) return "it timed out early";
        return unless(plan_.timeout < Plan::long_timeout, "nothing takes that long");
    }

    [[nodiscard]] std::string judge_cancelled(bool unknown) const {
        if (!plan_.cancel_after) return "nobody cancelled it";
        const bool total = plan_.style == Style::coroutine &&
                           plan_.how_to_cancel == asio::cancellation_type::total;
        return unless(!total || !unknown, "a total cancellation leaves no doubt");
    }

    const Plan& plan_;
    const Site& site_;
    const Token token_;
    const tether::Duration took_;
};

/// All calls that were ever made.
class Book {
public:
    Book(Ledger& ledger, Log& log) : ledger_(ledger), log_(log) {}

    [[nodiscard]] Token open(const Plan& plan, const Site& site) {
        const std::scoped_lock lock{mutex_};
        const auto token = ++last_;
        if (plan.is_idempotent()) ledger_.note_idempotent(token);
        pending_.emplace(token, Entry{plan, &site, Clock::now()});
        return token;
    }

    /// For what is no call but must end as surely.
    [[nodiscard]] Token open_task(std::string name, const Site& site) {
        Plan plan;
        plan.what = std::move(name);
        return open(plan, site);
    }
    void close_task(Token token) { static_cast<void>(take(token, Verdict::unknown, "done")); }

    void answered(Token token, bool right) {
        const auto entry = take(token, Verdict::ran, "answered");
        if (!entry) return;
        if (!right) return complain(*entry, token, "it got another answer than its own");
        // One that only closed the connection may have left its answer in the ledger.
        const bool breaks = entry->plan.kind == Kind::break_down && entry->plan.what != "close";
        if (breaks) complain(*entry, token, "it has an answer");
        if (entry->plan.is_too_large(*entry->site)) complain(*entry, token, "it is too large");
    }

    void failed(Token token, const std::exception_ptr& error) {
        const auto now = Clock::now();
        try {
            std::rethrow_exception(error);
        } catch (const tether::RemoteError& remote) {
            settle(token, now, remote, Verdict::ran, "handler");
        } catch (const tether::CallError& call) {
            const bool unsure = call.code() == tether::errc::outcome_unknown ||
                                call.code() == tether::errc::message_too_large;
            settle(token, now, call, unsure ? Verdict::unknown : Verdict::never,
                   call.code().message());
        } catch (const std::exception& other) {
            complain("call " + std::to_string(token) + ": not a CallError: " + other.what());
        } catch (...) {
            complain("call " + std::to_string(token) + ": something that is no exception");
        }
    }

    void dropped(Token token) {
        const auto entry = take(token, Verdict::unknown, "dropped");
        if (entry && !entry->plan.may_be_dropped) complain(*entry, token, "it was dropped");
    }

    void complain(const std::string& text) {
        log_.add("WRONG: " + text);
        const std::scoped_lock lock{mutex_};
        if (complaints_.size() < 20) complaints_.push_back(text);
    }

    [[nodiscard]] std::vector<std::string> complaints() const {
        const std::scoped_lock lock{mutex_};
        return complaints_;
    }
    [[nodiscard]] Token last() const {
        const std::scoped_lock lock{mutex_};
        return last_;
    }
    [[nodiscard]] std::size_t pending() const {
        const std::scoped_lock lock{mutex_};
        return pending_.size();
    }

    /// Calls that are `patience` past the time that they have, or without it all.
    [[nodiscard]] std::string overdue(std::chrono::seconds patience) const {
        const std::scoped_lock lock{mutex_};
        const auto now = Clock::now();
        std::string text;
        for (const auto& [token, entry] : pending_) {
            if (now > entry.made + entry.plan.limit() + patience) {
                text += "  " + describe(entry, token, now) + "\n";
            }
        }
        return text;
    }

    /// How many calls ended in which way.
    [[nodiscard]] std::string summary() const {
        const std::scoped_lock lock{mutex_};
        std::string text;
        for (const auto& [how, count] : outcomes_) {
            text += "  " + std::to_string(count) + " x " + how + "\n";
        }
        return text;
    }

    /// Whether handlers ran as often as the callers were told.
    void audit() {
        for (Token token = 1; token <= last(); ++token) {
            const auto verdict = ledger_.verdict(token);
            const int runs = ledger_.runs(token);
            const bool idempotent = ledger_.is_idempotent(token);
            const bool fits = verdict != Verdict::none && runs <= (idempotent ? 2 : 1) &&
                              (verdict != Verdict::ran || runs != 0) &&
                              (verdict != Verdict::never || idempotent || runs == 0);
            if (fits) continue;
            complain("call " + std::to_string(token) + (idempotent ? " (idempotent)" : "") +
                     " ran " + std::to_string(runs) + " times, its verdict is " +
                     std::to_string(static_cast<int>(verdict)));
        }
    }

private:
    struct Entry {
        Plan plan;
        const Site* site;
        Clock::time_point made;
    };

    void settle(Token token, Clock::time_point now, const auto& error, Verdict verdict,
                const std::string& how) {
        const auto entry = take(token, verdict, how);
        if (!entry) return;
        const auto text = Judge{entry->plan, *entry->site, token, now - entry->made}.judge(error);
        if (!text.empty()) complain(*entry, token, text + ": " + error.what());
    }

    std::optional<Entry> take(Token token, Verdict verdict, const std::string& how) {
        std::optional<Entry> entry;
        {
            const std::scoped_lock lock{mutex_};
            if (auto node = pending_.extract(token)) entry = std::move(node.mapped());
            ++outcomes_[how];
        }
        if (!entry) complain("call " + std::to_string(token) + " was settled twice: " + how);
        if (entry) static_cast<void>(ledger_.note(token, verdict));
        return entry;
    }

    void complain(const Entry& entry, Token token, const std::string& text) {
        complain(describe(entry, token, Clock::now()) + ": " + text);
    }

    static std::string describe(const Entry& entry, Token token, Clock::time_point now) {
        const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.made);
        return "call " + std::to_string(token) + " to " + entry.site->name + " (" +
               entry.plan.describe() + "), made " + std::to_string(age.count()) + " ms ago";
    }

    Ledger& ledger_;
    Log& log_;
    mutable std::mutex mutex_;
    Token last_ = 0;
    std::unordered_map<Token, Entry> pending_;
    std::map<std::string, std::uint64_t> outcomes_;
    std::vector<std::string> complaints_;
};

/// One call on its way: told once how it ended, or destroyed with whoever should have been told.
class Ticket {
public:
    Ticket(Book& book, const Plan& plan, const Site& site)
        : book_(&book), token_(book.open(plan, site)), answer_size_(plan.answer_size) {}
    Ticket(Ticket&& other) noexcept
        : book_(std::exchange(other.book_, nullptr)),
          token_(other.token_),
          answer_size_(other.answer_size_),
          told_(other.told_) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
        if (book_ != nullptr && !told_) book_->dropped(token_);
    }

    [[nodiscard]] Token token() const noexcept { return token_; }

    void answer(const Echoed& echoed) {
        settle().answered(token_,
                          echoed.token == token_ && is_pattern(echoed.blob, token_, answer_size_));
    }
    void answer(Token token) { settle().answered(token_, token == token_); }
    void answer() { settle().answered(token_, true); }
    void fail(const std::exception_ptr& error) { settle().failed(token_, error); }

    /// As completion handlers are called.
    template <class... Response>
    void complete(const std::exception_ptr& error, const Response&... response) {
        if (error) {
            fail(error);
        } else {
            answer(response...);
        }
    }

private:
    [[nodiscard]] Book& settle() noexcept {
        told_ = true;  // the book notices when it was before
        return *book_;
    }

    Book* book_;
    Token token_;
    std::size_t answer_size_;
    bool told_ = false;
};

}  // namespace tether_test::chaos
