/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover.
 *
 * Once new maps have their names nobody takes over the old ones any more, so it is the last step of a start: what can fail comes before it,
 * the loss of privileges too. But it needs these. So a child is forked while they are there, and waits for the word; if none comes it ends
 * and has changed nothing. It gives its answer, and is gone before the first client is heard.
 */
#include "handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "datapath.h"
#include "log.h"

static _Noreturn void be_child(int fd, struct datapath *datapath)
{
	int error;
	char word;

	if (read(fd, &word, 1) != 1)
		_exit(0);
	error = datapath_commit(datapath);
	_exit(write(fd, &error, sizeof(error)) != sizeof(error));
}

int handover_prepare(struct handover *handover, struct datapath *datapath)
{
	int ends[2], error;

	if (datapath_is_committed(datapath))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	handover->pid = fork();
	if (handover->pid == 0) {
		close(ends[0]);
		be_child(ends[1], datapath);
	}
	error = handover->pid < 0 ? -errno : 0;
	close(ends[1]);
	if (error)
		close(ends[0]);
	else
		handover->fd = ends[0];
	return error;
}

int handover_commit(struct handover *handover, struct datapath *datapath)
{
	int error;

	if (handover->fd < 0)
		return 0;
	if (write(handover->fd, "", 1) != 1 || read(handover->fd, &error, sizeof(error)) != sizeof(error)) {
		error = -EPIPE;
		log_error("the child that was to pin the maps has ended");
	}
	if (!error)
		datapath_committed(datapath);
	handover_close(handover);
	return error;
}

void handover_close(struct handover *handover)
{
	if (handover->fd < 0)
		return;
	close(handover->fd);
	handover->fd = -1;
	while (waitpid(handover->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
