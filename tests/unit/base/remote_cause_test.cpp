#include <tether/detail/base/remote_cause.hpp>

#include <exception>
#include <future>
#include <ios>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace remote_cause_test {

namespace {

using tether::detail::describe_chain;

template <class Throw>
std::vector<tether::RemoteCause> chain_of(Throw what) {
    try {
        what();
    } catch (...) {
        return describe_chain(std::current_exception());
    }
    return {};
}

struct Alien {
    int number = 0;
};

}  // namespace

TEST_CASE("each kind of exception has its code", "[F17][F80]") {
    const auto code = [](auto what) { return chain_of(what).at(0).code; };
    CHECK(code([] { throw tether::HandlerError("mine", "text"); }) == "mine");
    CHECK(code([] { throw std::runtime_error("text"); }) == "exception");
    CHECK(code([] { throw std::bad_alloc(); }) == "bad_alloc");
    CHECK(code([] { throw std::bad_array_new_length(); }) == "bad_alloc");
    CHECK(code([] { throw 42; }) == "unknown");
    CHECK(code([] { throw Alien{}; }) == "unknown");
    CHECK(code([] { throw std::system_error(2, std::generic_category()); }) == "generic:2");
    CHECK(code([] { throw std::ios_base::failure("io"); }) == "iostream:1");
    CHECK(code([] { throw tether::CallError(tether::errc::timeout, "text"); }) == "tether:1");
    CHECK(chain_of([] { throw std::runtime_error("not \xff UTF-8"); }).at(0).message ==
          "not \xff UTF-8");
    CHECK(describe_chain(nullptr).empty());
}

TEST_CASE("any text of an exception can be described", "[F94]") {
    struct Null : std::exception {
        [[nodiscard]] const char* what() const noexcept override { return nullptr; }
    };
    CHECK(chain_of([] { throw Null{}; }).at(0).message.empty());
    const std::string enormous(std::size_t{3} << 20, 'e');
    const auto cut = enormous.substr(0, std::size_t{1} << 20);
    CHECK(chain_of([&] { throw std::runtime_error(enormous); }).at(0).message == cut);
    const auto own = chain_of([&] { throw tether::HandlerError(enormous, enormous); });
    CHECK(own.at(0).code == cut);
    CHECK(own.at(0).message == cut);
}

TEST_CASE("nested exceptions are followed, outermost first", "[F80]") {
    const auto chain = chain_of([] {
        try {
            try {
                throw std::system_error(13, std::system_category(), "open");
            } catch (...) {
                std::throw_with_nested(std::runtime_error("middle"));
            }
        } catch (...) {
            std::throw_with_nested(tether::HandlerError("outer", "top"));
        }
    });
    REQUIRE(chain.size() == 3);
    CHECK(chain[0].code == "outer");
    CHECK(chain[0].message == "top");
    CHECK(chain[1].message == "middle");
    CHECK(chain[2].code == "system:13");
    CHECK(tether_test::contains(chain[2].message, "open"));
}

TEST_CASE("the innermost exception may be anything", "[F17]") {
    const auto chain = chain_of([] {
        try {
            throw 42;
        } catch (...) {
            std::throw_with_nested(std::runtime_error("outer"));
        }
    });
    REQUIRE(chain.size() == 2);
    CHECK(chain[1].code == "unknown");
}

TEST_CASE("an exception that nests, but is no std::exception, is followed, too", "[F80]") {
    const auto chain = chain_of([] {
        try {
            throw std::runtime_error("the real reason");
        } catch (...) {
            std::throw_with_nested(Alien{1});
        }
    });
    REQUIRE(chain.size() == 2);
    CHECK(chain[0].code == "unknown");
    CHECK(chain[1].message == "the real reason");
}

TEST_CASE("a nested exception without anything inside ends the chain") {
    struct Lonely : std::runtime_error, std::nested_exception {
        using std::runtime_error::runtime_error;
    };
    // Made outside of any catch, so it has nothing nested.
    const auto pointer = std::make_exception_ptr(Lonely{"lonely"});
    CHECK(describe_chain(pointer).size() == 1u);
}

TEST_CASE("a chain that is endless is cut") {
    const auto chain = chain_of([] {
        std::exception_ptr last;
        for (int depth = 0; depth < 100; ++depth) {
            try {
                if (last == nullptr) throw std::runtime_error("0");
                try {
                    std::rethrow_exception(last);
                } catch (...) {
                    std::throw_with_nested(std::runtime_error(std::to_string(depth)));
                }
            } catch (...) {
                last = std::current_exception();
            }
        }
        std::rethrow_exception(last);
    });
    REQUIRE(chain.size() == 16);
    CHECK(chain[0].message == "99");
    CHECK(chain[15].message == "84");
}

}  // namespace remote_cause_test
