/*
 * Loading a handler. There is no mark in it of the version that it was built for, and the struct that it registers grew and
 * was reordered between versions: which layout it has follows from the size of its symbol or, failing that, from which
 * reading of it has nothing but code where callbacks belong.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

struct loaded loaded;

/* layout is where a version has the callbacks that moved; the first 112 bytes are the same in all of them. */
struct layout {
	const char *abi;
	size_t size;
	int writesame, caw, report_event, lock, unlock, get_lock_tag, get_lock_state, is_dbus, update_logdir, init, destroy; /* -1: not there */
};
static const struct layout layouts[] = {
	{"1.5.4", 200, 112, 120, 128, 136, 144, 152, 160, 168, 176, 184, 192},
	{"1.5.3", 184, -1, -1, 112, 120, 128, 136, 144, 152, 160, 168, 176},
	{"1.5.0", 160, -1, -1, -1, 112, 120, 128, 136, 144, 152, -1, -1},
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

static struct {
	const char *abi, *subtype;
	char error[512];
	bool found;
} want;

/* object is the loaded file that contains an address. */
struct object {
	uintptr_t at;
	const ElfW(Phdr) *phdr;
	int phnum;
	uintptr_t base;
};

static bool in_segment(const struct object *o, uintptr_t p, size_t n, uint32_t flags)
{
	for (int i = 0; i < o->phnum; i++) {
		const ElfW(Phdr) *s = &o->phdr[i];
		uintptr_t start = o->base + s->p_vaddr;
		if (s->p_type == PT_LOAD && (s->p_flags & flags) == flags && p >= start && p + n <= start + s->p_memsz)
			return true;
	}
	return false;
}

static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct object *o = arg, found = {o->at, info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr};
	if (!in_segment(&found, o->at, 1, 0))
		return 0;
	*o = found;
	return 1;
}

static void *slot(const void *h, int offset)
{
	void *p = NULL;
	if (offset >= 0)
		memcpy(&p, (const char *)h + offset, sizeof p);
	return p;
}

/* is_code: a callback is absent or is code of the same file. */
static bool is_code(const struct object *o, const void *h, int offset)
{
	void *p = slot(h, offset);
	return p == NULL || in_segment(o, (uintptr_t)p, 1, PF_X);
}

static bool fits(const struct object *o, const void *h, const struct layout *l)
{
	if (!in_segment(o, (uintptr_t)h, l->size, 0))
		return false;
	for (int at = 32; at < 112; at += 8)
		if (at != 64 && !is_code(o, h, at))
			return false;
	const int moved[] = {l->writesame, l->caw, l->report_event, l->lock, l->unlock, l->get_lock_tag, l->get_lock_state,
		l->update_logdir, l->init, l->destroy};
	for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
		if (moved[i] >= 0 && !is_code(o, h, moved[i]))
			return false;
	return ((const uint8_t *)h)[l->is_dbus] <= 1;
}

/* by_size is the layout whose size the struct's symbol has. *symbol is that size, 0 for no symbol. */
static const struct layout *by_size(const void *h, size_t *symbol)
{
	Dl_info info;
	ElfW(Sym) *sym = NULL;
	*symbol = 0;
	if (!dladdr1(h, &info, (void **)&sym, RTLD_DL_SYMENT) || sym == NULL || info.dli_saddr != h)
		return NULL;
	*symbol = sym->st_size;
	for (size_t i = 0; i < LAYOUTS; i++)
		if (layouts[i].size == *symbol)
			return &layouts[i];
	return NULL;
}

static const struct layout *refuse(const char *why)
{
	snprintf(want.error, sizeof want.error, "%s", why);
	return NULL;
}

/* guess finds the layout of h. It says no rather than take a lock callback for a write. */
static const struct layout *guess(const struct tcmur_handler *h)
{
	size_t symbol;
	const struct layout *sized = by_size(h, &symbol);
	if (sized)
		return sized;
	if (symbol == 136 || symbol == 152)
		return refuse("it was built for tcmu-runner 1.3 or 1.4; the oldest that can be used is 1.5.0");
	struct object o = {.at = (uintptr_t)h};
	if (!dl_iterate_phdr(find_object, &o))
		return refuse("its struct tcmur_handler is in no loaded file; give the parameter abi");
	const struct layout *first = NULL;
	bool ambiguous = false;
	for (size_t i = 0; i < LAYOUTS; i++) {
		if (!fits(&o, h, &layouts[i]))
			continue;
		ambiguous |= first != NULL;
		first = first ? first : &layouts[i];
	}
	if (!first)
		return refuse("its struct tcmur_handler has no known layout (1.5.0 to 1.6.x); give the parameter abi");
	if (ambiguous && (slot(h, 112) || slot(h, 120)))
		return refuse("its struct tcmur_handler can be read in two ways; give the parameter abi (1.5.0, 1.5.3 or 1.5.4)");
	return first;
}

static const struct layout *named(const char *abi)
{
	static const char *const alias[][2] = {
		{"1.5.1", "1.5.0"}, {"1.5.2", "1.5.0"}, {"1.6.0", "1.5.4"}, {"1.6.1", "1.5.4"}, {"1.6.2", "1.5.4"}, {"1.6", "1.5.4"}};
	for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
		if (strcmp(abi, alias[i][0]) == 0)
			abi = alias[i][1];
	for (size_t i = 0; i < LAYOUTS; i++)
		if (strcmp(abi, layouts[i].abi) == 0)
			return &layouts[i];
	return refuse("the parameter abi must be one of 1.5.0 to 1.5.4 and 1.6.0 to 1.6.2");
}

#define TAKE(field) *(void **)&to->field = slot(h, l->field)

static void normalise(struct tcmur_handler *to, const struct tcmur_handler *h, const struct layout *l)
{
	memset(to, 0, sizeof *to);
	memcpy(to, h, offsetof(struct tcmur_handler, writesame));
	TAKE(writesame);
	TAKE(caw);
	TAKE(report_event);
	TAKE(lock);
	TAKE(unlock);
	TAKE(get_lock_tag);
	TAKE(get_lock_state);
	TAKE(update_logdir);
	TAKE(init);
	TAKE(destroy);
}

/* A file may register several handlers; the one with the subtype asked for counts, or the first. */
int tcmur_register_handler(struct tcmur_handler *h)
{
	const struct layout *l = strcmp(want.abi, "auto") == 0 ? guess(h) : named(want.abi);
	if (!l)
		return -1;
	struct tcmur_handler n;
	normalise(&n, h, l);
	bool asked = n.subtype && want.subtype && strcmp(n.subtype, want.subtype) == 0;
	if (want.found && !asked)
		return 0;
	if (n.init && n.init() != 0) {
		refuse("its init failed");
		return -1;
	}
	loaded.h = n;
	loaded.abi = l->abi;
	want.found = true;
	return 0;
}

int tcmur_unregister_handler(struct tcmur_handler *h);
int tcmur_unregister_handler(struct tcmur_handler *h) { (void)h; return 0; }

static const char *check(void)
{
	struct tcmur_handler *h = &loaded.h;
	if (!want.found)
		return want.error[0] ? want.error : "its handler_init registered nothing";
	if (!h->subtype || !h->open || !h->close)
		return "it has no subtype, open or close";
	if (h->nr_threads < 0 || h->nr_threads > 1024)
		return "its nr_threads makes no sense; give the parameter abi";
	if (!h->read && h->handle_cmd)
		return "it passes SCSI commands through (handle_cmd without read) and cannot be a block device";
	if (!h->read)
		return "it cannot read";
	return NULL;
}

const char *handler_load(const char *path, const char *abi, const char *subtype)
{
	want.abi = abi;
	want.subtype = subtype;
	void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!file) {
		const char *why = dlerror();
		bool old = strstr(why, "undefined symbol: tcmu_") != NULL;
		snprintf(want.error, sizeof want.error, "%s%s", why, old ? " (built for a tcmu-runner older than 1.5.0?)" : "");
		return want.error;
	}
	int (*init)(void);
	*(void **)&init = dlsym(file, "handler_init");
	if (!init)
		return "it has no handler_init: not a handler of tcmu-runner";
	if (init() != 0 && !want.error[0])
		return "its handler_init failed";
	return check();
}
