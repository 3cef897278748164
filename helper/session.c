/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions: from HELLO to hang-up.
 *
 * A session is the far end of a socketpair that a process sent through the door, with the credentials that the kernel
 * attached to that message. It ends when the process (and every child that inherited the near end) is gone, or when it
 * breaks the protocol. Its offers are forgotten then; ends that had joined live on without an owner, for as long as their
 * sockets do.
 *
 * The memory is the helper's memfd, sealed so that nobody can shrink it under us (nor punch holes, once it is used: cells.c), and written
 * by the client at will. The helper reads words and stores answers; no pointer or length is ever taken
 * from it, and what names something, a cell that was closed (retired[]) or a series, is looked up and may be any other of that session's.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "datapath.h"
#include "eviction.h"
#include "group.h"
#include "helper.h"
#include "ledger.h"
#include "log.h"
#include "pairing.h"
#include "policy.h"
#include "shares.h"
#include "sockfacts.h"
#include "trial.h"
#include "wire/wire.h"

/* A session may own 65535 ends: they are let go a share at a time, and others are served in between. */
#define DISSOLVE_ENDS 512
#define DISSOLVE_NS (500 * LOOP_NS_PER_US)

struct sessions {
	struct helper *helper;
	struct session *table;
	struct session *dissolving; /* closed; some of their ends are still registered */
	struct loop_timer dissolve;
	uint64_t last_id;
	bool is_ending;
	bool is_foreign_told; /* in the log, once */
	struct session_spin past_spin;
};

/* ---- the table ---- */

static void session_release(struct loop_corpse *corpse)
{
	struct session *session = loop_container(corpse, struct session, channel.corpse);

	munmap(session->memory, SESSION_BYTES); /* not sooner: callers up the stack may hold one of its cells */
	close(session->memory_fd);
	free(session);
}

/* The process has the far end, too, so that it sees nothing of a close. */
static void hang_up(int fd)
{
	shutdown(fd, SHUT_RDWR);
}

/* A share of the ends is let go, at most `count`. True if none is left and the session is no more. */
static bool session_dissolve(struct session *session, uint32_t count)
{
	struct helper *helper = session->channel.helper;

	if (!pairing_session_closed(helper, session, count))
		return false;
	trial_session_closed(helper, session);
	group_session_closed(helper, session);
	session_spin_add(session, &helper->sessions->past_spin);
	HASH_DEL(helper->sessions->table, session);
	ledger_session_closed(helper->ledgers, session->id);
	policy_give(helper->policy, session->channel.uid, POLICY_SESSIONS);
	loop_bury(helper->loop, &session->channel.corpse);
	return true;
}

static void session_close(struct channel *channel)
{
	struct session *session = session_of(channel);
	struct sessions *sessions = channel->helper->sessions;

	log_debug("session %llu (pid %u) ends", (unsigned long long)session->id, session->pid);
	if (!sessions->is_ending) /* else the door tells, and it may go on with the next helper */
		hang_up(channel->source.fd);
	shares_forget(channel->helper->shares, channel);
	eviction_forget(channel);
	loop_remove(channel->helper->loop, &channel->source);
	if (!sessions->is_ending && sockfacts_has_unread(channel->source.fd))
		(void)reaper_put(channel->helper->reaper, channel->source.fd, channel->uid, NULL);
	else
		reaper_close_socket(channel->helper->reaper, channel->source.fd);
	if (session_dissolve(session, DISSOLVE_ENDS))
		return;
	DL_APPEND(sessions->dissolving, session);
	loop_timer_set(channel->helper->loop, &sessions->dissolve, loop_now_ns() + DISSOLVE_NS);
}

static void dissolve_expired(struct loop_timer *timer)
{
	struct sessions *sessions = loop_container(timer, struct sessions, dissolve);
	struct session *session = sessions->dissolving;

	DL_DELETE(sessions->dissolving, session);
	if (!session_dissolve(session, DISSOLVE_ENDS))
		DL_APPEND(sessions->dissolving, session);
	if (sessions->dissolving)
		loop_timer_set(sessions->helper->loop, timer, loop_now_ns() + DISSOLVE_NS);
}

struct sessions *sessions_new(struct helper *helper)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return NULL;
	sessions->helper = helper;
	loop_timer_add(helper->loop, &sessions->dissolve, dissolve_expired);
	return sessions;
}

void sessions_free(struct sessions *sessions)
{
	struct session *session, *next;

	if (!sessions)
		return;
	sessions->is_ending = true;
	HASH_ITER (hh, sessions->table, session, next) {
		if (channel_is_open(&session->channel))
			session_close(&session->channel);
	}
	while (sessions->dissolving)
		dissolve_expired(&sessions->dissolve);
	free(sessions);
}

void sessions_set_off(struct sessions *sessions, bool off)
{
	struct session *session, *next;

	HASH_ITER (hh, sessions->table, session, next)
		atomic_store(&session->memory->off, off);
}

void sessions_each(struct sessions *sessions, void (*visit)(struct session *session, void *context), void *context)
{
	struct session *session, *next;

	HASH_ITER (hh, sessions->table, session, next)
		visit(session, context);
}

struct session *sessions_first(const struct sessions *sessions)
{
	return sessions->table;
}

struct session_spin sessions_past_spin(const struct sessions *sessions)
{
	return sessions->past_spin;
}

/* What a client says of itself may be anything: a sum stops at the highest number that JSON is given. */
static void add_up_to_max(uint64_t *sum, const _Atomic uint64_t *told)
{
	uint64_t room = INT64_MAX - *sum, more = atomic_load_explicit(told, memory_order_relaxed);

	*sum += more < room ? more : room;
}

void session_spin_add(const struct session *session, struct session_spin *sum)
{
	add_up_to_max(&sum->ns, &session->memory->spin_ns);
	add_up_to_max(&sum->count, &session->memory->spins);
	add_up_to_max(&sum->hits, &session->memory->spin_hits);
}

uint32_t sessions_count(const struct sessions *sessions)
{
	return HASH_COUNT(sessions->table);
}

struct session *session_find(struct sessions *sessions, uint64_t id)
{
	struct session *session;

	HASH_FIND(hh, sessions->table, &id, sizeof(id), session);
	return session;
}

struct session *session_of(struct channel *channel)
{
	return loop_container(channel, struct session, channel);
}

/* ---- HELLO ---- */

static int memory_make(struct session *session, struct helper *helper)
{
	int fd = memfd_create("smaccel-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	/* The byte makes the first page: a store would be SIGBUS where the kernel has none to spare (vm.overcommit_memory is 2). */
	if (ftruncate(fd, SESSION_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0 ||
	    pwrite(fd, "", 1, 0) != 1)
		goto out_errno;
	session->memory = mmap(NULL, SESSION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (session->memory == MAP_FAILED)
		goto out_errno;
	session->memory_fd = fd;
	session->memory->magic = MEMORY_MAGIC;
	session->memory->version = WIRE_VERSION;
	session->memory->helper_generation = helper->switches->helper_generation;
	session->memory->cell_count = MEMORY_CELLS;
	atomic_store(&session->memory->off, helper->switches->off);
	return 0;
out_errno:
	error = -errno;
	close(fd);
	return error;
}

/* So that a receive on an end of the process can tell; a session without it works, too. */
static void send_stops(struct session *session, const struct helper *helper)
{
	struct wire_stops stops = { .process = session->pid };
	int fd;

	if (!helper->stops)
		return;
	fd = datapath_stops_words(helper->stops, &stops.words);
	wire_header_init(&stops.header, WIRE_STOPS, sizeof(stops), 0, 0);
	(void)wire_send(session->channel.source.fd, &stops, sizeof(stops), fd);
}

static int send_welcome(struct session *session, struct helper *helper)
{
	struct wire_welcome welcome = {
		.helper_generation = helper->switches->helper_generation,
		.features = helper->features | WIRE_FEATURE_WITHDRAW | WIRE_FEATURE_HOLDERS | WIRE_FEATURE_OPTIONS |
			    WIRE_FEATURE_RETIRED | WIRE_FEATURE_LANDING | WIRE_FEATURE_ALONE,
		.cell_count = MEMORY_CELLS,
		.memory_bytes = SESSION_BYTES,
	};

	wire_header_init(&welcome.header, WIRE_WELCOME, sizeof(welcome), 0, 0);
	return wire_send(session->channel.source.fd, &welcome, sizeof(welcome), session->memory_fd);
}

static int session_open(struct helper *helper, struct request *request)
{
	struct session *session = calloc(1, sizeof(*session));
	int error;

	if (!session)
		return -ENOMEM;
	session->id = ++helper->sessions->last_id;
	session->pid = request->creds.pid;
	memcpy(session->comm, request->message.hello.comm, sizeof(request->message.hello.comm));
	session->channel.source.fd = request->fd;
	session->channel.source.ready = dispatch_ready;
	session->channel.corpse.release = session_release;
	session->channel.helper = helper;
	session->channel.state = CHANNEL_SESSION;
	session->channel.uid = request->creds.uid;
	session->channel.close = session_close;
	error = memory_make(session, helper);
	if (error)
		goto out_free;
	session->group = group_enter(helper->groups, session->channel.uid, request->message.hello.group);
	atomic_store(&session->memory->recording, (session->group ? RECORDING_GROUP : 0u) | trial_recording(helper));
	HASH_ADD(hh, helper->sessions->table, id, sizeof(session->id), session);
	send_stops(session, helper);
	error = session->lost ? -ENOMEM : send_welcome(session, helper);
	if (!error)
		error = loop_add(helper->loop, &session->channel.source, EPOLLIN);
	if (error)
		goto out_memory;
	log_debug("session %llu: pid %u, uid %u (%.16s)", (unsigned long long)session->id, session->pid,
		  session->channel.uid, session->comm);
	request->fd = -1;
	return 0;
out_memory:
	if (!session->lost)
		HASH_DEL(helper->sessions->table, session);
	group_session_closed(helper, session);
	munmap(session->memory, SESSION_BYTES);
	close(session->memory_fd);
out_free:
	free(session);
	return error;
}

int session_handle_hello(struct request *request)
{
	struct helper *helper = request->helper;
	int error;

	if (request->creds.uid == (uid_t)-1 || !sockfacts_is_channel(request->fd)) {
		helper->refusals[REASON_BAD_REQUEST]++;
		return -EPROTO;
	}
	if (request->creds.pid == 0) { /* the kernel has no number for it here */
		helper->refusals[REASON_PID_NAMESPACE]++;
		if (!helper->sessions->is_foreign_told)
			log_error("a process of a PID namespace that this one does not contain is left to plain TCP, "
				  "as are others");
		helper->sessions->is_foreign_told = true;
		hang_up(request->fd);
		return 0;
	}
	error = dispatch_may_come(helper, request->creds.uid)
			? policy_take(helper->policy, request->creds.uid, POLICY_SESSIONS)
			: -EDQUOT;
	if (error) {
		helper->refusals[REASON_TABLE_FULL]++;
		hang_up(request->fd); /* it asks again later */
		return 0;
	}
	error = session_open(helper, request);
	if (error) {
		log_debug("no session for pid %d: %s", request->creds.pid, strerror(-error));
		hang_up(request->fd);
		policy_give(helper->policy, request->creds.uid, POLICY_SESSIONS);
		if (error != -EPIPE && error != -ECONNRESET) /* else it is gone already */
			helper->refusals[REASON_INTERNAL]++;
	}
	return 0;
}

int session_handle_ping(struct request *request)
{
	_Atomic uint32_t *pong = &request->session->memory->pong;

	atomic_store(pong, request->message.ping.nonce);
	session_wake(pong);
	return 0;
}
