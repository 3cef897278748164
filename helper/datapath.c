/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path: loads the BPF programs, and does with single sockets what the helper asks for.
 *
 * Everything here is called by the helper's one thread. After datapath_commit() nothing needs a capability: maps
 * and programs are held as fds, and the kernel asks for capabilities only where such objects are made.
 *
 * The maps live in bpffs and outlive this process (datapath_pins.c).
 */
#define _GNU_SOURCE
#include "datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "datapath_internal.h"
#include "log.h"
#include "smaccel.skel.h"

struct datapath {
	struct smaccel_bpf *skeleton;
	struct sm_slot *slots;
	struct sm_switches *switches;
	size_t slots_bytes;
	size_t switches_bytes;
	uint32_t slot_count;
	int sockhash_fd; /* borrowed from the skeleton, as are the next four */
	int storage_fd;
	int look_fd;
	int inspect_fd;
	int count_fds_fd;
	int roll_call_fd;
	bool took_over;
	bool uses_rdonly_cast;
	char *pin_dir;    /* NULL: no pins, or they are there; owned, as is the next */
	int old_switches; /* of pins that do not fit, or -1 */
};

static bool libbpf_is_verbose;

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_DEBUG || !libbpf_is_verbose)
		return 0;
	return vfprintf(stderr, format, arguments);
}

/* ---- opening ---- */

static struct bpf_map *skeleton_map(const struct smaccel_bpf *skeleton, int which)
{
	switch (which) {
	case DATAPATH_SWITCHES:
		return skeleton->maps.smaccel_switches;
	case DATAPATH_SLOTS:
		return skeleton->maps.smaccel_slots;
	case DATAPATH_STORAGE:
		return skeleton->maps.smaccel_storage;
	default:
		return skeleton->maps.smaccel_sockhash;
	}
}

/* Loads the programs over the maps in `fds` (or over new ones where they are -1; `fds` stays the caller's). */
static int load(struct datapath *self, const struct datapath_map_spec *specs, const int *fds, bool rmem_counts,
		int memory_cgroups)
{
	struct smaccel_bpf *skeleton = smaccel_bpf__open();
	int error = 0;

	if (!skeleton)
		return -errno;
	skeleton->rodata->use_rdonly_cast = self->uses_rdonly_cast;
	skeleton->rodata->rmem_counts_redirected = rmem_counts;
	skeleton->rodata->memory_cgroups_are_v1 = memory_cgroups == 1;
	skeleton->rodata->woken_wake_function_address = datapath_probe_woken_wake_function();
	skeleton->rodata->pollwake_address = datapath_probe_pollwake();
	for (int i = 0; i < DATAPATH_MAP_COUNT && !error; i++) {
		struct bpf_map *map = skeleton_map(skeleton, i);

		if (fds[i] >= 0)
			error = bpf_map__reuse_fd(map, fds[i]);
		else if (specs[i].max_entries)
			error = bpf_map__set_max_entries(map, specs[i].max_entries);
	}
	if (!error)
		error = smaccel_bpf__load(skeleton);
	if (error) {
		smaccel_bpf__destroy(skeleton);
		return error;
	}
	self->skeleton = skeleton;
	return 0;
}

/* A kernel may have bpf_rdonly_cast and yet refuse it here: then the slower reads do. */
static int load_best(struct datapath *self, const struct datapath_options *options,
		     const struct datapath_map_spec *specs, const int *fds)
{
	/* Unknown counts as "does not count": one message at a time is safe on any kernel (fact 12). */
	bool rmem_counts = !options->skip_rmem_probe && datapath_probe_rmem() == 1;
	int memory_cgroups =
		options->force_memory_cgroups ? options->force_memory_cgroups : datapath_probe_memory_cgroups();
	int error = -ENOTSUP;

	self->uses_rdonly_cast = !options->force_probe_read && datapath_probe_rdonly_cast();
	if (self->uses_rdonly_cast)
		error = load(self, specs, fds, rmem_counts, memory_cgroups);
	if (error) {
		self->uses_rdonly_cast = false;
		error = load(self, specs, fds, rmem_counts, memory_cgroups);
	}
	if (error)
		log_error("the kernel refused the BPF programs: %s; %s", strerror(-error), datapath_advice(error));
	return datapath_is_kernels_fault(error) ? -EOPNOTSUPP : error;
}

static int attach(struct datapath *self)
{
	const struct smaccel_bpf *skeleton = self->skeleton;

	self->sockhash_fd = bpf_map__fd(skeleton->maps.smaccel_sockhash);
	self->storage_fd = bpf_map__fd(skeleton->maps.smaccel_storage);
	self->look_fd = bpf_program__fd(skeleton->progs.smaccel_look);
	self->inspect_fd = bpf_program__fd(skeleton->progs.smaccel_inspect);
	self->count_fds_fd = bpf_program__fd(skeleton->progs.smaccel_count_fds);
	self->roll_call_fd = bpf_program__fd(skeleton->progs.smaccel_roll_call);
	if (bpf_prog_attach(bpf_program__fd(skeleton->progs.smaccel_verdict), self->sockhash_fd, BPF_SK_MSG_VERDICT, 0))
		return -errno;
	return 0;
}

static void *map_memory(const struct bpf_map *map, size_t *bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory;

	*bytes = (size_t)bpf_map__value_size(map) * bpf_map__max_entries(map);
	*bytes = (*bytes + page - 1) / page * page;
	memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int finish(struct datapath *self)
{
	int error;

	error = attach(self);
	if (error) {
		log_error("cannot attach the BPF programs: %s", strerror(-error));
		return error;
	}
	self->slots = map_memory(self->skeleton->maps.smaccel_slots, &self->slots_bytes);
	self->switches = map_memory(self->skeleton->maps.smaccel_switches, &self->switches_bytes);
	if (!self->slots || !self->switches) {
		error = -errno;
		log_error("cannot map the BPF maps: %s", strerror(-error));
		return error;
	}
	self->switches->abi = SM_ABI;
	self->switches->helper_generation++;
	return 0;
}

/* 1: there is something to take over, in `fds`. 0: new maps are to be made, and pinned by datapath_commit(). -errno. */
static int find_pins(struct datapath *self, const char *pin_dir, const struct datapath_map_spec *specs, int *fds)
{
	int result = datapath_pins_prepare(pin_dir);

	if (!result)
		result = datapath_pins_open(pin_dir, specs, fds, &self->old_switches);
	if (result)
		return result;
	self->pin_dir = strdup(pin_dir);
	return self->pin_dir ? 0 : -ENOMEM;
}

int datapath_open(struct datapath **out, const struct datapath_options *options)
{
	int fds[DATAPATH_MAP_COUNT] = { -1, -1, -1, -1 };
	struct datapath_map_spec specs[DATAPATH_MAP_COUNT];
	struct datapath *self;
	int error = 0;

	*out = NULL;
	self = calloc(1, sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->old_switches = -1;
	libbpf_is_verbose = options->verbose_libbpf;
	libbpf_set_print(print_libbpf);
	self->slot_count = options->slot_count ? options->slot_count : SM_SLOTS_DEFAULT;
	datapath_map_specs(specs, self->slot_count);
	if (options->pin_dir) {
		error = find_pins(self, options->pin_dir, specs, fds);
		if (error < 0)
			goto out;
		self->took_over = error == 1;
	}
	error = load_best(self, options, specs, fds);
	if (!error)
		error = finish(self);
out:
	for (int i = 0; i < DATAPATH_MAP_COUNT; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (error)
		datapath_close(self);
	else
		*out = self;
	return error;
}

int datapath_commit(struct datapath *self)
{
	struct datapath_map_spec specs[DATAPATH_MAP_COUNT];
	int fds[DATAPATH_MAP_COUNT];
	int error;

	if (!self->pin_dir)
		return 0;
	datapath_map_specs(specs, self->slot_count);
	for (int i = 0; i < DATAPATH_MAP_COUNT; i++)
		fds[i] = bpf_map__fd(skeleton_map(self->skeleton, i));
	self->switches->off = datapath_pins_are_off(self->old_switches); /* until somebody says `smaccel on` */
	error = datapath_pins_make(self->pin_dir, specs, fds, self->old_switches);
	if (!error)
		datapath_committed(self);
	return error;
}

bool datapath_is_committed(const struct datapath *self)
{
	return !self->pin_dir;
}

void datapath_committed(struct datapath *self)
{
	if (self->old_switches >= 0)
		close(self->old_switches);
	self->old_switches = -1;
	free(self->pin_dir);
	self->pin_dir = NULL;
}

void datapath_close(struct datapath *self)
{
	if (!self)
		return;
	if (self->slots)
		munmap(self->slots, self->slots_bytes);
	if (self->switches)
		munmap(self->switches, self->switches_bytes);
	if (self->old_switches >= 0)
		close(self->old_switches);
	free(self->pin_dir);
	smaccel_bpf__destroy(self->skeleton);
	free(self);
}

struct sm_slot *datapath_slots(struct datapath *self, uint32_t *count)
{
	if (count)
		*count = self->slot_count;
	return self->slots;
}

struct sm_switches *datapath_switches(struct datapath *self)
{
	return self->switches;
}

bool datapath_took_over(const struct datapath *self)
{
	return self->took_over;
}

bool datapath_uses_rdonly_cast(const struct datapath *self)
{
	return self->uses_rdonly_cast;
}

/* ---- single sockets ---- */

/* A program run for its context, which is asked in and answered in. */
static int run(int program_fd, void *context, uint32_t bytes)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context, .ctx_size_in = bytes);

	return bpf_prog_test_run_opts(program_fd, &options) < 0 ? -errno : 0;
}

int datapath_look(struct datapath *self, int fd, struct sm_look *look)
{
	*look = (struct sm_look){ .fd = fd };
	return run(self->look_fd, look, sizeof(*look));
}

int datapath_insert(struct datapath *self, int fd, uint64_t cookie, const struct sm_endref *ref)
{
	uint64_t value = (uint64_t)fd;
	int error;

	/* The sockhash first: it refuses a socket that is in it already, whose storage must not be touched. Until the
	 * storage is there the verdict passes. BPF_NOEXIST: replacing an entry would throw bytes away (fact 18). */
	if (bpf_map_update_elem(self->sockhash_fd, &cookie, &value, BPF_NOEXIST) < 0)
		return errno == EEXIST ? -EBUSY : -errno;
	if (bpf_map_update_elem(self->storage_fd, &fd, ref, BPF_ANY) < 0) {
		error = -errno;
		datapath_remove(self, cookie); /* clean: nothing is redirected to it yet */
		return error;
	}
	return 0;
}

int datapath_remove(struct datapath *self, uint64_t cookie)
{
	return bpf_map_delete_elem(self->sockhash_fd, &cookie) < 0 ? -errno : 0;
}

bool datapath_present(struct datapath *self, uint64_t cookie)
{
	uint64_t value;

	return bpf_map_lookup_elem(self->sockhash_fd, &cookie, &value) == 0;
}

int datapath_inspect(struct datapath *self, uint64_t sk, uint64_t cookie, struct sm_facts *facts)
{
	return datapath_inspect_for(self, sk, cookie, 0, facts);
}

int datapath_inspect_for(struct datapath *self, uint64_t sk, uint64_t cookie, uint32_t pid, struct sm_facts *facts)
{
	struct sm_inspect context = { .of = { { .sk = sk, .cookie = cookie, .tgid = pid } } };
	int error = run(self->inspect_fd, &context, sizeof(context));

	if (!error)
		*facts = context.of[0].facts;
	return error;
}

int datapath_count_fds(struct datapath *self, uint64_t sk, uint64_t cookie, int channel_fd, uint32_t most,
		       uint32_t *count)
{
	struct sm_fds context = { .sk = sk, .cookie = cookie, .channel = channel_fd, .most = most };
	int error = run(self->count_fds_fd, &context, sizeof(context));

	*count = error ? 0 : context.count;
	return *count == SM_FDS_UNKNOWN ? -ERANGE : error;
}

int datapath_inspect_pair(struct datapath *self, const struct sm_end ends[SM_SIDES], struct sm_facts facts[SM_SIDES])
{
	struct sm_inspect context = { 0 };
	int error;

	for (int side = 0; side < SM_SIDES; side++) {
		context.of[side].sk = ends[side].cookie ? ends[side].sk : 0;
		context.of[side].cookie = ends[side].cookie;
	}
	error = run(self->inspect_fd, &context, sizeof(context));
	for (int side = 0; side < SM_SIDES && !error; side++)
		facts[side] = context.of[side].facts;
	return error;
}

int datapath_roll_call(struct datapath *self, struct datapath_member *members, uint32_t count)
{
	struct sm_roll *roll = &self->skeleton->bss->roll;
	int error;

	roll->count = count;
	for (uint32_t i = 0; i < count; i++) {
		roll->of[i].sk = members[i].sk;
		roll->of[i].cookie = members[i].cookie;
	}
	error = run(self->roll_call_fd, NULL, 0);
	for (uint32_t i = 0; i < count; i++)
		members[i].present = error || roll->present[i];
	return error;
}
