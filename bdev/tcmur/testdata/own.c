/*
 * A handler's own work: its callouts made in a loop by one thread of a process with nothing else in it, over 4 KiB blocks at
 * random and memory that is laid out like a ring's. Prints the processor time of one in nanoseconds. Linked with the helper's
 * files but for main.c.
 *
 *   own HANDLER CFG BYTES read|write COUNT
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "host.h"

#define BLOCK 4096
#define SLOTS 32
#define SLOT_BYTES (512 << 10)

static uint64_t nanoseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void open_device(const char *cfg, uint64_t size)
{
	snprintf(device.cfg, sizeof device.cfg, "%s", cfg);
	device.block_size = 512;
	device.num_lbas = size / device.block_size;
	if (loaded.h.nr_threads == 0 || loaded.h.open(&device, false) != 0) {
		fprintf(stderr, "own: %s cannot be opened, or does its work elsewhere\n", cfg);
		exit(1);
	}
}

static void call(tcmur_rw_fn fn, uint8_t *mem, uint64_t blocks, int count)
{
	uint64_t x = 88172645463325252ull;
	for (int i = 0; i < count; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		struct iovec iov = {mem + (uint64_t)(i % SLOTS) * SLOT_BYTES, BLOCK};
		struct tcmulib_cmd lib = {.iovec = &iov, .iov_cnt = 1};
		struct tcmur_cmd cmd = {.lib_cmd = &lib, .iovec = &iov, .iov_cnt = 1, .requested = BLOCK};
		if (fn(&device, &cmd, &iov, 1, BLOCK, x % blocks * BLOCK) != TCMU_STS_OK) {
			fprintf(stderr, "own: a callout failed\n");
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	const char *why = handler_load(argv[1], "auto", NULL);
	if (why) {
		fprintf(stderr, "own: %s: %s\n", argv[1], why);
		return 1;
	}
	uint64_t size = strtoull(argv[3], NULL, 10);
	int count = atoi(argv[5]);
	open_device(argv[2], size);
	uint8_t *mem = mmap(NULL, SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || count < 1)
		return 1;
	tcmur_rw_fn fn = strcmp(argv[4], "read") == 0 ? loaded.h.read : loaded.h.write;
	call(fn, mem, size / BLOCK, SLOTS); /* the first touch of the memory is nobody's work */
	uint64_t from = nanoseconds();
	call(fn, mem, size / BLOCK, count);
	printf("%.1f\n", (double)(nanoseconds() - from) / count);
	loaded.h.close(&device);
	return 0;
}
