/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel explain: whether the shim is in the process, and may do anything there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "environment.h"
#include "explain.h"
#include "library.h"
#include "program.h"
#include "words.h"

/* Why the library is not in it. */
static void explain_absence(struct explanation *explanation, const struct running *running)
{
	const char *wanted = running_variable(running, "LD_PRELOAD");
	char link[64];
	struct program program;
	enum program_verdict verdict;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)running->pid);
	verdict = *running->program ? program_examine(link, &program) : PROGRAM_GOOD;
	if (verdict == PROGRAM_SETUID || verdict == PROGRAM_SETGID || verdict == PROGRAM_FILE_CAPABILITY)
		verdict = PROGRAM_GOOD; /* is_secure says whether it had more rights by that */
	if (!*running->program)
		explanation_find(explanation, "library", true, "it is a thread of the kernel, which has no libraries");
	else if (verdict != PROGRAM_GOOD && verdict != PROGRAM_UNREADABLE)
		explanation_find(explanation, "library", true, "libsmaccel.so cannot be loaded: of %s, %s",
				 running->program, program_verdict_text(verdict));
	else if (running->is_secure)
		explanation_find(
			explanation, "library", true,
			"libsmaccel.so is not loaded: the program was started with more rights than its caller has "
			"(setuid, capabilities), and the dynamic linker ignores LD_PRELOAD then");
	else if (wanted && library_is_named(wanted))
		explanation_find(
			explanation, "library", true,
			"LD_PRELOAD=%s, but it is not loaded: the dynamic linker did not find it there, or may not "
			"load "
			"it (another root folder, NoExecPaths= of its unit, a file system without exec, musl); what it "
			"said is in the program's standard error",
			wanted);
	else
		explanation_find(
			explanation, "library", true,
			"libsmaccel.so is not loaded: LD_PRELOAD did not name it when %s was started; see smaccel run",
			running->program);
}

static void explain_library(struct explanation *explanation, const struct running *running)
{
	if (!*running->library)
		explain_absence(explanation, running);
	else if (running->is_secure)
		explanation_find(
			explanation, "library", true,
			"%s is loaded, and does nothing: the program was started with more rights than its caller has "
			"(setuid, capabilities)",
			running->library);
	else if (running->library_replaced)
		explanation_find(explanation, "library", false,
				 "%s is loaded as it was before it was replaced: the program has the new one when it "
				 "is restarted",
				 running->library);
	else
		explanation_find(explanation, "library", false, "%s is loaded", running->library);
}

/* A library that was started without /proc cannot know whether there is a filter, and is off. Most often it is gone since, by a chroot,
 * but then there is a session if there ever was a connection. */
static bool has_no_proc(const struct running *running)
{
	char path[64];
	struct stat status;

	snprintf(path, sizeof(path), "/proc/%d/root/proc/self", (int)running->pid);
	return *running->library && !running->has_session && lstat(path, &status) != 0 && errno == ENOENT;
}

static void explain_filter(struct explanation *explanation, const struct running *running)
{
	const char *setting = running_variable(running, "SMACCEL_SECCOMP");
	bool is_trusted = setting && (!strcmp(setting, "trust") || !strcmp(setting, "trust-all"));

	if (!running->is_filtered && has_no_proc(running) && !is_trusted)
		explanation_find(
			explanation, "filter", true,
			"it has no /proc, where the library looks whether system calls are filtered: if it was "
			"started so, it is off. Mount /proc for it or, if nothing forbids what smaccel(1) lists: "
			"SMACCEL_SECCOMP=trust (or trust-all)");
	else if (!running->is_filtered)
		explanation_find(explanation, "filter", false, "its system calls are not filtered");
	else if (is_trusted)
		explanation_find(explanation, "filter", false,
				 "its system calls are filtered; SMACCEL_SECCOMP=%s: one that it was started under is "
				 "trusted, one that it has installed itself keeps its connections on plain TCP",
				 setting);
	else
		explanation_find(
			explanation, "filter", true,
			"its system calls are filtered (seccomp), and the shim makes none of its own: plain TCP. "
			"If the filter allows what smaccel(1) lists: SMACCEL_SECCOMP=trust (or trust-all, as of a "
			"container)");
}

static void explain_settings(struct explanation *explanation, const struct running *running)
{
	static const char *const names[] = { "SMACCEL",       "SMACCEL_ADMIT", "SMACCEL_SPIN_US", "SMACCEL_SECCOMP",
					     "SMACCEL_GROUP", "SMACCEL_LOG",   "SMACCEL_SOCKET" };
	const char *main_switch = running_variable(running, "SMACCEL");
	const char *admission = running_variable(running, "SMACCEL_ADMIT");
	char text[TEXT_BYTES] = "";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = running_variable(running, names[i]);

		if (value && *value)
			words_add(text, sizeof(text), "%s%s=%s", *text ? " " : "", names[i], value);
	}
	if (main_switch && environment_means_off(main_switch))
		explanation_find(explanation, "settings", true, "%s: switched off when it was started", text);
	else if (admission && !strcmp(admission, "never"))
		explanation_find(explanation, "settings", true, "%s: its connections never join", text);
	else
		explanation_find(explanation, "settings", false, "%s", *text ? text : "the defaults");
}

void explain_process(struct explanation *explanation, const struct running *running)
{
	explain_library(explanation, running);
	explain_filter(explanation, running);
	explain_settings(explanation, running);
	if (*running->library)
		explain_limits(explanation, running);
}
