# tether::compiled: Tether with all that is not a template in a library, so that each file that uses it
# compiles faster. It is built as part of the project that links it, by its compiler and with its flags;
# static, or shared where BUILD_SHARED_LIBS says so. Nothing is built for projects that do not.
#
# A program uses either this or tether::tether. Where two of its files disagree, what they exchange does not
# link.

if(NOT TARGET tether_compiled)
    add_library(tether_compiled EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/tether.cpp")
    add_library(tether::compiled ALIAS tether_compiled)
    target_link_libraries(tether_compiled PUBLIC tether::tether)
    target_compile_definitions(tether_compiled PUBLIC TETHER_SEPARATE_COMPILATION)
    set_target_properties(tether_compiled PROPERTIES
        POSITION_INDEPENDENT_CODE ON
        CXX_VISIBILITY_PRESET default
        WINDOWS_EXPORT_ALL_SYMBOLS ON
        UNITY_BUILD OFF)
endif()
