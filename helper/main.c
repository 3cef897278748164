/* SPDX-License-Identifier: BSD-2-Clause */
/* smacceld: the daemon.
 *
 * Start, in this order, and why:
 *   options, capabilities   say what is wrong before anything is touched
 *   signals                 blocked before threads or children could take them
 *   listener (not serving)  its lock makes sure that we are the only helper of this path
 *   data path               the maps: new ones, or those that run
 *   take-over               before the first client can ask for anything
 *   listening               whoever connects from here on waits for the loop
 *   privileges              before the first client is heard
 *   names of new maps       when nothing else can fail: a start that does leaves the last helper's pairs to the next one (handover.c)
 *   ready
 * The end is the reverse; armed pairs run on without us.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "datapath.h"
#include "eviction.h"
#include "group.h"
#include "handover.h"
#include "helper.h"
#include "ledger.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "loopback.h"
#include "pairing.h"
#include "privileges.h"
#include "reaper.h"
#include "registry.h"
#include "replies.h"
#include "selftest.h"
#include "session.h"
#include "shares.h"
#include "slots.h"
#include "stats.h"
#include "trial.h"
#include "wakes.h"
#include "watchdog.h"

#define EXIT_USAGE 2 /* the unit does not start it again after these two */
#define EXIT_KERNEL 3
#define MALLOC_MMAP_MAX_BYTES (32 << 20) /* the most that mallopt(3) takes */
#define MALLOC_KEPT_BYTES (256 << 20)
#define MALLOC_THRESHOLD_BYTES (128 << 10) /* the default of both */
/* Of the files that may be open, beside what policy_files_of_users() says; the rest is for the helper itself and for root. */
#define LEDGERS_SHARE 8
#define REPLIES_SHARE 16

struct signals {
	struct loop_source source;
	struct helper *helper;
};

static void signal_ready(struct loop_source *source, uint32_t events)
{
	struct signals *signals = loop_container(source, struct signals, source);
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			stats_child_ended(signals->helper);
		else
			loop_stop(signals->helper->loop);
	}
}

/* As SIGHUP is under nohup, and SIGINT for what a script has put into the background. The kernel queues a signal that is blocked even so, and signalfd would tell of it. */
static bool is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int signals_open(struct signals *signals, struct helper *helper)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG is told to who asked: what clients share with us are files */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM); /* even so: what else would end it */
	if (!is_ignored(SIGINT))
		sigaddset(&set, SIGINT);
	if (!is_ignored(SIGHUP)) /* of a terminal that is closed */
		sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0) /* SIGALRM ends a child that takes too long (stats.c) */
		return -errno;
	signals->helper = helper;
	signals->source.ready = signal_ready;
	signals->source.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->source.fd < 0)
		return -errno;
	return loop_add(helper->loop, &signals->source, EPOLLIN);
}

/* Two helpers must not work on the same maps. The lock ends with the process. */
static int lock_pins(const char *pin_dir)
{
	int fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (fd < 0)
		return -errno;
	error = listener_lock(fd);
	if (!error)
		return fd;
	close(fd);
	if (error == -EADDRINUSE)
		log_error("another smacceld uses %s", pin_dir);
	return error;
}

static int open_datapath(struct helper *helper)
{
	const struct options *options = &helper->options;
	const struct datapath_options wanted = {
		.pin_dir = options->pin_dir,
		.slot_count = options->settings.slot_count,
		.verbose_libbpf = options->verbose,
	};
	int error;

	error = datapath_pins_prepare(options->pin_dir);
	if (error)
		return error;
	helper->pins_lock_fd = lock_pins(options->pin_dir);
	if (helper->pins_lock_fd < 0)
		return helper->pins_lock_fd;
	error = datapath_open(&helper->datapath, &wanted);
	if (error)
		return error;
	error = datapath_stops_open(&helper->stops);
	if (error)
		log_error("receives with SO_RCVTIMEO will not notice SIGSTOP: the kernel does not tell of it: %s",
			  strerror(-error));
	helper->switches = datapath_switches(helper->datapath);
	return 0;
}

/* A kernel on which the design's ground does not hold is served by nobody: plain TCP for all. -EOPNOTSUPP then, as from datapath_open(). */
static int find_features(struct helper *helper)
{
	/* Maps that are in use are nothing to try with. New ones spare the kernel, and the start, another set of programs. */
	struct datapath *tried = datapath_took_over(helper->datapath) ? NULL : helper->datapath;
	struct selftest_result results[SELFTEST_RESULTS_MAX];
	int count = selftest_run(tried, results, SELFTEST_RESULTS_MAX, &helper->features);

	if (helper->options.settings.peer_count)
		helper->features |= WIRE_FEATURE_PEERS;
	if (count < 0) {
		log_error("the self-test cannot run: %s; %s", strerror(-count), selftest_advice(count));
		return count;
	}
	log_debug("self-test: %d results, features %#x", count, helper->features);
	for (int i = 0; i < count; i++) {
		if (results[i].outcome == SELFTEST_NOT_TRIED) {
			log_error("the self-test cannot run: %s: %s; %s", results[i].name, results[i].detail,
				  selftest_advice(results[i].error));
			return results[i].error;
		}
		if (results[i].outcome != SELFTEST_REFUSED)
			continue;
		log_error("this kernel cannot be used: %s: %s; `smaccel probe` shows all", results[i].name,
			  results[i].detail);
		return -EOPNOTSUPP;
	}
	return 0;
}

static void reaped(void *context, const struct reaper_tag *tag)
{
	struct helper *helper = context;

	session_fd_closed(helper->sessions, tag);
}

static int open_state(struct helper *helper)
{
	uint64_t seed[2] = { 1, 2 };
	struct sm_slot *shared;
	uint32_t count, last_ledger_id;

	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed) ||
	    getrandom(&last_ledger_id, sizeof(last_ledger_id), 0) != sizeof(last_ledger_id))
		return -errno;
	shared = datapath_slots(helper->datapath, &count);
	helper->policy = policy_new(&helper->options.settings, count);
	helper->registry = registry_new(seed);
	helper->ledgers = ledgers_new(last_ledger_id, helper->files_max / LEDGERS_SHARE);
	helper->groups = groups_new(helper);
	helper->trials = trials_new(helper);
	helper->sessions = sessions_new(helper);
	helper->slots = slots_new(helper, shared, count);
	helper->wakes = wakes_new(helper->loop);
	helper->replies = replies_new(helper->loop, helper->files_max / REPLIES_SHARE);
	helper->shares = shares_new(helper->loop);
	helper->evictions = evictions_new(helper);
	if (!helper->policy || !helper->registry || !helper->ledgers || !helper->groups || !helper->trials ||
	    !helper->sessions || !helper->slots || !helper->wakes || !helper->replies || !helper->shares ||
	    !helper->evictions)
		return -ENOMEM;
	policy_bound_files(helper->policy, policy_files_of_users(helper->files_max));
	return 0;
}

/* Everything that a join needs of the kernel, with a connection of our own. */
static int try_everything(void *context)
{
	const struct sm_endref nothing = { .generation = UINT32_MAX };
	struct datapath *datapath = context;
	struct sm_facts facts;
	struct sm_look look;
	uint64_t cookie;
	int ends[2];
	int error;

	error = loopback_pair_open(ends);
	if (error)
		return error;
	cookie = loopback_cookie(ends[0]);
	error = datapath_look(datapath, ends[0], &look);
	if (!error)
		error = datapath_insert(datapath, ends[0], cookie, &nothing);
	if (!error)
		error = datapath_inspect(datapath, look.facts.sk, cookie, &facts);
	if (!error && (!look.is_tcp || !facts.found || !datapath_present(datapath, cookie)))
		error = -EPERM;
	datapath_remove(datapath, cookie);
	loopback_pair_close(ends);
	return error;
}

/* Every BPF object that is loaded reads all of the kernel's BTF, 5 MB and a copy of them, into memory of its own: a third of a start's CPU
 * time is new pages for it unless malloc keeps them for the next. */
static void keep_freed_memory(bool keeps)
{
	mallopt(M_MMAP_THRESHOLD, keeps ? MALLOC_MMAP_MAX_BYTES : MALLOC_THRESHOLD_BYTES);
	mallopt(M_TRIM_THRESHOLD, keeps ? MALLOC_KEPT_BYTES : MALLOC_THRESHOLD_BYTES);
	if (!keeps)
		malloc_trim(0);
}

static int load_programs(struct helper *helper)
{
	const struct options *options = &helper->options;
	int error;

	keep_freed_memory(true);
	error = open_datapath(helper);
	if (!error)
		error = find_features(helper);
	keep_freed_memory(false);
	if (error)
		return error;
	helper->switches->test_without = (options->test_no_order ? SM_TEST_WITHOUT_ORDER : 0) |
					 (options->test_no_memory ? SM_TEST_WITHOUT_MEMORY : 0);
	helper->switches->test_bound_bytes = options->test_bound_bytes;
	return 0;
}

static int start(struct helper *helper, struct signals *signals)
{
	struct handover handover = { .fd = -1 };
	int error;

	error = loop_open(&helper->loop);
	if (!error)
		error = signals_open(signals, helper);
	if (!error)
		error = listener_open(&helper->listener, helper);
	if (!error)
		error = load_programs(helper);
	if (!error)
		error = open_state(helper);
	if (!error)
		error = reaper_open(&helper->reaper, helper->loop, reaped, helper);
	if (!error)
		error = stats_open(helper);
	if (!error)
		error = pairing_open(helper);
	if (error)
		return error;
	pairing_take_over(helper);
	error = watchdog_open();
	if (!error)
		error = try_everything(helper->datapath);
	if (!error)
		error = listener_start(helper->listener);
	if (!error)
		error = handover_prepare(&handover, helper->datapath);
	json_object_seed(0); /* while random numbers can be had: jansson would ask for them at its first object */
	if (!error)
		error = privileges_drop(try_everything, helper->datapath);
	if (!error)
		error = watchdog_start(helper);
	if (!error)
		error = handover_commit(&handover, helper->datapath);
	handover_close(&handover);
	return error;
}

static void stop(struct helper *helper, struct signals *signals)
{
	if (helper->pairing)
		pairing_close(helper); /* while the sessions can still be told */
	listener_close(helper->listener);
	sessions_free(helper->sessions);
	pairing_free(helper);
	stats_close(helper);
	wakes_free(helper->wakes);
	replies_free(helper->replies);
	shares_free(helper->shares);
	evictions_free(helper->evictions);
	loop_close(helper->loop); /* frees what was buried */
	reaper_free(helper->reaper);
	slots_free(helper->slots);
	groups_free(helper->groups);
	trials_free(helper->trials);
	ledgers_free(helper->ledgers);
	registry_free(helper->registry);
	policy_free(helper->policy);
	datapath_stops_close(helper->stops);
	datapath_close(helper->datapath);
	if (signals->source.fd >= 0)
		close(signals->source.fd);
	if (helper->pins_lock_fd >= 0)
		close(helper->pins_lock_fd);
}

/* What --version and --help say goes there, and nothing else does. At exit, which popt calls after --help. */
static void finish_output(void)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("smacceld: standard output");
		_exit(1);
	}
}

int main(int argc, const char **argv)
{
	struct signals signals = { .source.fd = -1 };
	struct helper helper = { .pins_lock_fd = -1 };
	int error;

	log_open();
	if (atexit(finish_output))
		return 1;
	error = options_parse(&helper.options, argc, argv);
	if (error)
		return error == OPTIONS_EXIT ? 0 : EXIT_USAGE;
	log_verbose = helper.options.verbose;
	helper.started_ns = loop_now_ns();
	error = privileges_check();
	if (!error) {
		helper.files_max = privileges_raise_limits();
		if (!policy_settings_fit(&helper.options.settings, helper.files_max))
			log_error("only %u files may be open (RLIMIT_NOFILE): at most %u processes a user",
				  helper.files_max, helper.options.settings.limit[POLICY_SESSIONS]);
		error = start(&helper, &signals);
		if (!error) {
			fputs("smacceld: ready\n", stderr);
			sd_notify(0, "READY=1");
			error = loop_run(helper.loop);
			sd_notify(0, "STOPPING=1");
		}
		if (error)
			log_error("ended: %s", strerror(-error));
		stop(&helper, &signals);
	}
	options_free(&helper.options);
	return error == -EOPNOTSUPP ? EXIT_KERNEL : error ? 1 : 0;
}
