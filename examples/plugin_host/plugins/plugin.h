/* What a plugin is: a shared object that exports `plugin_check`. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/* Tells the host of one finding. `context` is what plugin_check was given. */
typedef void plugin_report(void* context, int line, const char* message);

/* Checks `text`, and calls `report` for each finding. */
__attribute__((visibility("default"))) void plugin_check(const char* text, plugin_report* report,
                                                         void* context);

#ifdef __cplusplus
}
#endif
