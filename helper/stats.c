/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line's requests.
 *
 * The status is small and answered at once. A list of connections may be long, and the loop must not stand still while it
 * is made: a forked child, which has a snapshot of everything, makes and sends it. At most CHILDREN of them run at a
 * time, one a user and the last of them for the administrator alone, each for CHILD_SECONDS at the most.
 */
#include "stats.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "datapath.h"
#include "dispatch.h"
#include "helper.h"
#include "log.h"
#include "pairing.h"
#include "replies.h"
#include "session.h"
#include "slots.h"
#include "stats_internal.h"
#include "trial.h"
#include "wire/wire.h"

#define CHILDREN 4
#define CHILD_SECONDS 5

struct stats {
	struct {
		pid_t pid; /* 0: free */
		uint32_t uid;
	} children[CHILDREN];
};

int stats_open(struct helper *helper)
{
	helper->stats = calloc(1, sizeof(*helper->stats));
	return helper->stats ? 0 : -ENOMEM;
}

void stats_close(struct helper *helper)
{
	free(helper->stats); /* children end with their parent */
	helper->stats = NULL;
}

void stats_child_ended(struct helper *helper)
{
	for (int i = 0; i < CHILDREN; i++)
		if (helper->stats->children[i].pid && waitpid(helper->stats->children[i].pid, NULL, WNOHANG) != 0)
			helper->stats->children[i].pid = 0;
}

/* ---- status ---- */

static void add_spin(struct session *session, void *context)
{
	session_spin_add(session, context);
}

static json_t *totals(struct helper *helper)
{
	struct sm_direction sum = helper->switches->retired;
	uint64_t armed = 0, joined = 0;
	struct session_spin spin = sessions_past_spin(helper->sessions);

	for (struct slot *slot = slots_first(helper->slots); slot; slot = slot->used_next) {
		for (int side = 0; side < SM_SIDES; side++) {
			slot_sums_add(&sum, &slot->shared->direction[side]);
			joined += slot->end[side] != NULL;
		}
		armed += slot->shared->state == SM_SLOT_ARMED && slot->end[0] && slot->end[1];
	}
	sessions_each(helper->sessions, add_spin, &spin);
	return json_pack("{sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI}", "pairs_armed", (json_int_t)armed,
			 "pairs_armed_total", (json_int_t)helper->switches->pairs_armed_total, "sockets_joined",
			 (json_int_t)helper->switches->sockets_joined_total, "sockets_joined_now", (json_int_t)joined,
			 "redirected_msgs", (json_int_t)sum.redirected_msgs, "redirected_bytes",
			 (json_int_t)sum.redirected_bytes, "passed_msgs", (json_int_t)sum.passed_msgs, "passed_bytes",
			 (json_int_t)sum.passed_bytes, "spills", (json_int_t)sum.spills, "order_passes",
			 (json_int_t)sum.order_passes, "busy_passes", (json_int_t)sum.busy_passes, "leaves",
			 (json_int_t)helper->switches->leaves_total, "spin_us", (json_int_t)(spin.ns / 1000), "spins",
			 (json_int_t)spin.count, "spin_hits", (json_int_t)spin.hits);
}

static json_t *refusals(const struct helper *helper)
{
	json_t *object = json_object();

	for (unsigned reason = 0; reason < REASON_COUNT; reason++)
		if (helper->refusals[reason])
			json_object_set_new(object, reason_name(reason),
					    json_integer((json_int_t)helper->refusals[reason]));
	return object;
}

static json_t *kernel(const struct helper *helper)
{
	struct utsname name;
	json_t *features = json_array();

	if (uname(&name) < 0)
		name.release[0] = '\0';
	if (helper->features & WIRE_FEATURE_FIONREAD_COUNTS_TCP)
		json_array_append_new(features, json_string("fionread-counts-tcp"));
	if (helper->features & WIRE_FEATURE_FIONREAD_COUNTS_PSOCK)
		json_array_append_new(features, json_string("fionread-counts-psock"));
	if (helper->features & WIRE_FEATURE_CLAMP)
		json_array_append_new(features, json_string("window-clamp"));
	if (datapath_uses_rdonly_cast(helper->datapath))
		json_array_append_new(features, json_string("rdonly-cast"));
	if (helper->stops)
		json_array_append_new(features, json_string("stops"));
	return json_pack("{ss so}", "release", name.release, "features", features);
}

json_t *stats_status(struct helper *helper)
{
	json_t *self = json_pack("{si ss sI sI si si si}", "pid", (int)getpid(), "version", SMACCEL_VERSION, "uptime_s",
				 (json_int_t)((loop_now_ns() - helper->started_ns) / LOOP_NS_PER_S), "generation",
				 (json_int_t)helper->switches->helper_generation, "sessions",
				 (int)sessions_count(helper->sessions), "slots_used", (int)slots_used(helper->slots),
				 "slots", (int)slots_count(helper->slots));

	return json_pack("{so so so so s{sb} so}", "totals", totals(helper), "refusals", refusals(helper), "helper",
			 self, "kernel", kernel(helper), "switches", "off", (int)(helper->switches->off != 0), "trial",
			 trial_status(helper));
}

/* ---- replies ---- */

/* A client that does not read its replies loses them. */
static void send_reply(int door, int error, int fd, const char *text)
{
	struct wire_reply message = { .error = error };

	if (text) {
		message.json_bytes = strlen(text);
		message.error = replies_write(fd, text, message.json_bytes);
	}
	wire_header_init(&message.header, WIRE_REPLY, sizeof(message), 0, 0);
	wire_send(door, &message, sizeof(message), text && !message.error ? fd : -1);
}

void stats_reply(int door, int error)
{
	send_reply(door, error, -1, NULL);
}

static void reply_json(struct request *request, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int fd = text ? replies_make(request->helper->replies, request->channel) : -ENOMEM;

	send_reply(request->channel->source.fd, fd < 0 ? fd : 0, fd, fd < 0 ? NULL : text);
	free(text);
	json_decref(json);
}

int stats_handle_status(struct request *request)
{
	pairing_look_for_all_closed(request->helper);
	reply_json(request, stats_status(request->helper));
	return 0;
}

void stats_reply_by_child(struct request *request, char *(*make)(const struct request *request))
{
	struct stats *stats = request->helper->stats;
	int free_place = -1, free_places = 0, fd;
	int kept = dispatch_is_privileged(request->creds.uid) ? 0 : 1; /* the last one is the administrator's */
	char *text;
	pid_t pid;

	stats_child_ended(request->helper);
	for (int i = 0; i < CHILDREN; i++) {
		if (!stats->children[i].pid) {
			free_place = i;
			free_places++;
		} else if (stats->children[i].uid == request->creds.uid && request->creds.uid != 0)
			goto busy;
	}
	if (free_places <= kept)
		goto busy;
	fd = replies_make(request->helper->replies, request->channel);
	pid = fd < 0 ? -1 : fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* or doors would look alive */
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_SECONDS);
		text = make(request);
		send_reply(request->channel->source.fd, text ? 0 : -ENOMEM, fd, text);
		_exit(0);
	}
	if (pid < 0) {
		stats_reply(request->channel->source.fd, fd < 0 ? fd : -errno);
		return;
	}
	stats->children[free_place].pid = pid;
	stats->children[free_place].uid = request->creds.uid;
	return;
busy:
	stats_reply(request->channel->source.fd, -EBUSY);
}

static char *make_connections(const struct request *request)
{
	json_t *json = stats_connections(request->helper, request->creds.uid);

	return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

int stats_handle_connections(struct request *request)
{
	pairing_look_for_all_closed(request->helper);
	stats_reply_by_child(request, make_connections);
	return 0;
}

int stats_handle_switch(struct request *request)
{
	struct helper *helper = request->helper;
	const bool off = request->message.header.type == WIRE_OFF;

	if (!dispatch_is_privileged(request->creds.uid)) {
		stats_reply(request->channel->source.fd, -EPERM);
		return 0;
	}
	__atomic_store_n(&helper->switches->off, off, __ATOMIC_SEQ_CST);
	sessions_set_off(helper->sessions, off);
	if (off)
		trial_switched_off(helper);
	else
		pairing_switched_on(helper);
	log_info("acceleration switched %s by uid %u, pid %d", off ? "off" : "on", request->creds.uid,
		 request->creds.pid);
	stats_reply(request->channel->source.fd, 0);
	return 0;
}
