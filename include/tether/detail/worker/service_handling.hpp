// Why: a call as its handler and its answer see it. Apart from service.hpp only to keep both short;
// users of services include service_coroutines.hpp, which includes both.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/observed_run.hpp>
#include <tether/detail/protocol/responder.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/worker/live.hpp>
#include <tether/detail/worker/service.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// One call, as its handler and its answer see it.
class Service::Running final : public AsyncCallControl, public Responder {
public:
    // `inbox`: of a live protocol.
    Running(Service& service, std::size_t slot, const IncomingMessage& request,
            OutgoingMessage& answer, std::shared_ptr<Inbox> inbox)
        : service_(service),
          slot_(slot),
          number_(request.number),
          index_(request.index),
          one_way_(request.one_way),
          answer_(answer) {
        if (inbox != nullptr) {
            live_.emplace();
            live_->inbox = std::move(inbox);
            live_->index = index_;
            live_->one_way = one_way_;
            live_->stopped = [this] { return stop_requested(); };
        }
        const auto due = std::min(call_deadline(request.timeouts), run_deadline(request.timeouts));
        if (due != TimePoint::max()) deadline_ = due;
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() override {
        if (live_) service_.live_->leave(*live_);
    }

    std::uint64_t id() const noexcept override { return number_; }
    bool stop_requested() const noexcept override {
        return service_.control_.calls().stop_requested(slot_);
    }
    std::stop_token stop_token() override {
        auto token = service_.control_.calls().token(slot_);
        service_.ensure_helper();
        service_.helper_wake_.notify();  // the call may have been told to stop already
        return token;
    }
    std::optional<TimePoint> deadline() const noexcept override { return deadline_; }
    void log(Severity severity, std::string_view text) override {
        logged_.store(true, std::memory_order_relaxed);
        service_.control_.log(severity, text);
    }

    void progress(const OutgoingValue& value) override {
        observe_progress(*this);
        service_.live_->progress(*live_, value);
    }
    void send_item(const OutgoingValue& value) override {
        service_.live_->send_item(*live_, value);
    }
    bool next_item(const IncomingValue& value) override {
        return service_.live_->next_item(*live_, value);
    }
    void ask(const SideType& type, const void* question, Duration timeout,
             void* response) override {
        service_.live_->ask(*live_, type, question, timeout, response);
    }
    void notify(std::uint16_t index, const OutgoingValue& value) override {
        service_.live_->notify(index, value);
    }
    std::stop_token cancellation() override {
        auto token = service_.control_.calls().cancellation(slot_);
        service_.ensure_helper();
        if (service_.control_.calls().is_stopped(slot_)) service_.helper_wake_.notify();
        return token;
    }
    GiveUp prepare_item(const OutgoingValue& value, Resume resume) override {
        return service_.live_->prepare_item(*live_, value, std::move(resume));
    }
    void send_prepared_item() override { service_.live_->send_prepared_item(*live_); }
    GiveUp await_item(Resume resume) override {
        return service_.live_->await_item(*live_, std::move(resume));
    }
    std::unique_ptr<AsyncQuestion> prepare_question(const SideType& type,
                                                    const void* question) override {
        return std::make_unique<Live::Question>(*service_.live_, *live_, type, question);
    }

    std::string& payload() override { return answer_.payload(); }
    std::vector<const Bytes*>& blobs() override { return answer_.blobs(); }
    void send() override {
        service_.control_.end_forked_copy();
        if (is_cut_short()) return;
        if (answer_.content_size() > service_.max_message_bytes_ ||
            answer_.blobs().size() > MessageHead::max_blobs) {
            return send_error({errc::message_too_large,
                               "the response has " + std::to_string(answer_.content_size()) +
                                   " bytes in " + std::to_string(answer_.blobs().size()) +
                                   " blobs and a payload; the limit is " +
                                   std::to_string(service_.max_message_bytes_) + " bytes and " +
                                   std::to_string(MessageHead::max_blobs) + " blobs",
                               {}});
        }
        finish(FrameType::response);
    }
    void send_error(const ErrorAnswer& error) {
        service_.control_.end_forked_copy();
        if (!is_cut_short()) answer(error);
    }

private:
    // A handler that has seen that it should stop may return anything. A caller that still
    // waits gets an error instead, or, if the worker is leaving, the error of its end.
    bool is_cut_short() {
        const auto how = service_.control_.calls().cut_short(slot_);
        if (how == ActiveCalls::CutShort::overran) {
            answer({errc::timeout, "its handler has had its run timeout", {}});
            return true;
        }
        return how == ActiveCalls::CutShort::yes && service_.control_.leaving();
    }
    void answer(ErrorAnswer error) {
        if (one_way_) complain(error);
        error.shorten(service_.max_message_bytes_);
        answer_.reset();
        error.append_to(answer_.payload());
        finish(FrameType::error);
    }
    // Nothing else tells of it.
    void complain(const ErrorAnswer& error) {
        const auto& text = error.causes.empty() ? error.text : error.causes.front().message;
        service_.control_.log(Severity::error, "a request without an answer failed: " + text);
    }
    void finish(FrameType type) {
        if (one_way_) return;
        if (live_) service_.live_->end(*live_);
        answer_.seal();
        const bool logged = service_.mark_severity_ && logged_.load(std::memory_order_relaxed);
        answer_.open(type, index_, number_, {}, logged ? FrameHeader::logged : 0);
        service_.send(answer_);
    }

    Service& service_;
    std::size_t slot_;
    std::uint64_t number_;
    std::uint16_t index_;
    bool one_way_;
    OutgoingMessage& answer_;
    std::optional<TimePoint> deadline_;
    std::atomic<bool> logged_{false};
    std::optional<Live::Call> live_;
};

inline void Service::handle(std::size_t slot, bool wanted, const IncomingMessage& request,
                            OutgoingMessage& answer, std::shared_ptr<Inbox> inbox) {
    answer.reset();
    {
        Running call{*this, slot, request, answer, std::move(inbox)};
        if (wanted) {
            answer_or_error(slot, request, call);
        } else {
            call.send_error({errc::cancelled, "cancelled before it was started", {}});
        }
    }
    control_.calls().end(slot);
}

inline void Service::answer_or_error(std::size_t slot, const IncomingMessage& request,
                                     Running& call) {
    try {
        if (!handler_.dispatch(request.index, request.payload, request.blobs, call, call)) {
            call.send_error({errc::codec, "no such request in this protocol", {}});
        }
    } catch (const CodecFailure& failure) {
        call.send_error({errc::codec, failure.what(), {}});
    } catch (ForcedUnwind&) {
        call.send_error({errc::handler, {}, describe_ended_thread()});
        flush();
        control_.on_thread_ended();
        control_.calls().end(slot);
        serve_on(slot);
        throw;
    } catch (...) {
        call.send_error({errc::handler, {}, describe_thrown()});
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
