// Tether: everything that is not a template, for programs that compile it once.
//
// Include this in exactly one source file of a program that defines TETHER_SEPARATE_COMPILATION, or
// link the CMake target `tether::compiled`, which is that file as a library.
#pragma once

#include <tether/config.hpp>

#if !defined(TETHER_SEPARATE_COMPILATION)
#error "<tether/src.hpp> is for programs that define TETHER_SEPARATE_COMPILATION in all their files"
#endif

#include <tether/detail/impl/async_call.ipp>
#include <tether/detail/impl/beside_executable.ipp>
#include <tether/detail/impl/exchange.ipp>
#include <tether/detail/impl/executor.ipp>
#include <tether/detail/impl/executor_hold.ipp>
#include <tether/detail/impl/hub.ipp>
#include <tether/detail/impl/make_loopback.ipp>
#include <tether/detail/impl/make_pool.ipp>
#include <tether/detail/impl/make_supervisor.ipp>
#include <tether/detail/impl/pending_list.ipp>
#include <tether/detail/impl/response.ipp>
#include <tether/detail/impl/serve_as_worker.ipp>
#include <tether/detail/impl/stream_feed.ipp>
#include <tether/detail/impl/typed_call.ipp>
