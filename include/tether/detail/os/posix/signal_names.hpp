// Why: the number of a signal says little to the reader of a log, and differs between systems.
#pragma once

#include <tether/config.hpp>

#include <csignal>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::string signal_name(int number) {
    switch (number) {
        case SIGABRT:
            return "SIGABRT";
        case SIGFPE:
            return "SIGFPE";
        case SIGILL:
            return "SIGILL";
        case SIGINT:
            return "SIGINT";
        case SIGSEGV:
            return "SIGSEGV";
        case SIGTERM:
            return "SIGTERM";
        case SIGBUS:
            return "SIGBUS";
        case SIGHUP:
            return "SIGHUP";
        case SIGKILL:
            return "SIGKILL";
        case SIGPIPE:
            return "SIGPIPE";
        case SIGQUIT:
            return "SIGQUIT";
        case SIGSYS:
            return "SIGSYS";
        case SIGTRAP:
            return "SIGTRAP";
        case SIGXCPU:
            return "SIGXCPU";
        case SIGXFSZ:
            return "SIGXFSZ";
        default:
            return "unnamed";
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
