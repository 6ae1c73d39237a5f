#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/response.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>

#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL void throw_codec_error(const std::string& where, const char* what) {
    throw CallError(errc::codec, where + ": " + what + ": " + describe_current());
}

}  // namespace detail
TETHER_NAMESPACE_END
