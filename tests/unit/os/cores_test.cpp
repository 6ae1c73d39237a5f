#include <tether/detail/os/os.hpp>

#include <filesystem>
#include <fstream>
#include <string>

#include <sched.h>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace cores_test {

using namespace tether::detail;

TEST_CASE("a quota is worth so many cores, rounded up") {
    CHECK(cores_of_quota("max 100000\n") == 0);
    CHECK(cores_of_quota("100000 100000\n") == 1);
    CHECK(cores_of_quota("150000 100000\n") == 2);
    CHECK(cores_of_quota("1000 100000\n") == 1);
    CHECK(cores_of_quota("800000 100000\n") == 8);
    CHECK(cores_of_quota("") == 0);
    CHECK(cores_of_quota("nonsense") == 0);
    CHECK(cores_of_quota("5 0") == 0);
}

TEST_CASE("the least quota of a group and those around it counts") {
    const tether_test::TemporaryFolder folder;
    const auto& root = folder.path();
    std::filesystem::create_directories(root + "/outer/inner");
    const auto set = [&](const std::string& group, const std::string& text) {
        std::ofstream{root + group + "/cpu.max"} << text << '\n';
    };
    CHECK(cores_of_group("/outer/inner", root) == 0);
    set("/outer", "300000 100000");
    CHECK(cores_of_group("/outer/inner", root) == 3);
    set("/outer/inner", "max 100000");
    CHECK(cores_of_group("/outer/inner", root) == 3);
    set("/outer/inner", "200000 100000");
    CHECK(cores_of_group("/outer/inner", root) == 2);
    CHECK(cores_of_group("/elsewhere", root) == 0);
}

TEST_CASE("only the processors that this process may use are counted") {
    CHECK(usable_cores() >= 1);
    ::cpu_set_t before;
    REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
    int first = 0;
    while (!CPU_ISSET(first, &before)) ++first;
    ::cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    const auto cores = usable_cores();
    REQUIRE(::sched_setaffinity(0, sizeof before, &before) == 0);
    CHECK(cores == 1);
}

}  // namespace cores_test
