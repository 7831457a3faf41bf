/* What the files of the helper share. */
#ifndef POLLUX_TCMUR_HOST_H
#define POLLUX_TCMUR_HOST_H

#include "abi.h"
#include "region.h"

/* The descriptors that the target gives. */
enum { FD_CONTROL = 3, FD_REGION = 4, FD_PIPES = 5 };

struct tcmu_device {
	char name[256];
	char cfg[4096];
	char uio[32];
	_Atomic uint64_t num_lbas; /* handlers may change it from any thread */
	uint32_t block_size;
	uint32_t max_xfer;
	uint32_t max_unmap;
	uint32_t unmap_gran;
	uint32_t unmap_align;
	uint32_t xcopy;
	bool wce, solid_state, unmap_enabled, write_protect;
	bool is_open; /* size updates are events from now on */
	void *handler_private;
	void *lib_private;
	/* Handlers read counters and a state from what tcmu_dev_get_private returns, at places that differ between versions. */
	_Alignas(16) uint8_t runner_device[2048];
};

/* handler.c */
struct loaded {
	struct tcmur_handler h; /* in the layout of abi.h */
	const char *abi;
};
extern struct loaded loaded;
/* handler_load loads the handler; its result is NULL, or why it cannot. abi is "auto" or the version that it was built for. */
const char *handler_load(const char *path, const char *abi, const char *subtype);

/* work.c */
void work_map(uint32_t *rings);
void work_start(int threads);
void work_stop(void);   /* returns when no callout runs and nothing asynchronous is outstanding */
void work_pause(void);  /* returns when no callout runs; none starts until work_resume */
void work_resume(void);
uint32_t work_slot_bytes(void);

/* log.c */
void say(char level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tell(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a message to the target */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* confine.c */
void confine(void);

extern struct tcmu_device device;

#endif
