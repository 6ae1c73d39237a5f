#pragma once

// What a trace says, event by event.

#include <nlohmann/json.hpp>

#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace tether_test {

/// Throws where it is not valid JSON.
class Trace {
public:
    using Event = nlohmann::json;

    explicit Trace(const std::string& path) {
        std::ifstream file{path, std::ios::binary};
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        for (auto& event : nlohmann::json::parse(text)) events_.push_back(std::move(event));
    }

    [[nodiscard]] const std::vector<Event>& events() const noexcept { return events_; }

    /// All of a phase and a name, in the order in which they were written.
    [[nodiscard]] std::vector<Event> all(const std::string& phase, const std::string& name) const {
        std::vector<Event> found;
        for (const auto& event : events_) {
            if (event["ph"] == phase && event["name"] == name) found.push_back(event);
        }
        return found;
    }
    [[nodiscard]] bool has(const std::string& phase, const std::string& name) const {
        return !all(phase, name).empty();
    }
    /// Of one that must be there.
    /// The first of one process.
    [[nodiscard]] Event first(const std::string& phase, const std::string& name,
                              std::int64_t pid) const {
        for (const auto& event : all(phase, name)) {
            if (event["pid"] == pid) return event;
        }
        return Event{};
    }

    [[nodiscard]] Event first(const std::string& phase, const std::string& name) const {
        const auto found = all(phase, name);
        if (found.empty()) throw std::runtime_error("the trace has no " + phase + " " + name);
        return found.front();
    }
    [[nodiscard]] std::set<::pid_t> processes() const {
        std::set<::pid_t> found;
        for (const auto& event : events_) found.insert(event["pid"].get<::pid_t>());
        return found;
    }
    /// How processes are called.
    [[nodiscard]] std::string name_of(::pid_t pid) const {
        std::string name;
        for (const auto& event : all("M", "process_name")) {
            if (event["pid"] == pid) name = event["args"]["name"];
        }
        return name;
    }

private:
    std::vector<Event> events_;
};

inline double begin_of(const Trace::Event& event) { return event["ts"].get<double>(); }
inline double end_of(const Trace::Event& event) {
    return begin_of(event) + event["dur"].get<double>();
}

}  // namespace tether_test
