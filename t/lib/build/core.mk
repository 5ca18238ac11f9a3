# What is plain C: the units of core/, the mapi-directory command, the unit
# tests and the replay of fuzz corpora.  Called by build.sh from the top of the
# tree with OUT (a relative folder without blanks), CC, OPT and LDOPT.

WARN   = -W -Wall -Wextra -Wpointer-arith -Wno-unused-parameter -Werror
INCS   = -I ngx_mapi_module/core -I ngx_mapi_module/cli -I t/unit
CFLAGS = -std=gnu99 -g $(WARN) $(INCS) $(OPT)
LIBS   = -llmdb -lcrypto -lpthread -lm

core  := $(wildcard ngx_mapi_module/core/*.c)
cli   := $(wildcard ngx_mapi_module/cli/*.c)
units := $(wildcard t/unit/test_*.c)
help  := $(filter-out $(units),$(wildcard t/unit/*.c))

object = $(patsubst %.c,$(OUT)/o/%.o,$(1))

all: $(if $(cli),$(OUT)/mapi-directory)

$(OUT)/mapi-directory: $(call object,$(cli)) $(OUT)/o/core.a
	$(CC) $(OPT) $(LDOPT) -o $@.new $^ $(LIBS) -ljansson && mv $@.new $@

$(OUT)/unit/%: $(OUT)/o/t/unit/%.o $(call object,$(help)) $(OUT)/o/core.a
	@mkdir -p $(@D)
	$(CC) $(OPT) $(LDOPT) -o $@ $^ -lcmocka $(LIBS)

$(OUT)/fuzz/%: $(OUT)/o/t/fuzz/%.o $(OUT)/o/core.a
	@mkdir -p $(@D)
	$(CC) $(OPT) $(LDOPT) -o $@ $^ $(LIBS)

# the archive is made anew: a unit that was taken away must not stay in it

$(OUT)/o/core.a: $(call object,$(core)) $(OUT)/o/list
	rm -f $@ && ar rcs $@ $(call object,$(core))

$(OUT)/o/%.o: %.c $(OUT)/o/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# rewritten only when what they hold changes

$(OUT)/o/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS) $(LDOPT)' | cmp -s - $@ \
	    || echo '$(CC) $(CFLAGS) $(LDOPT)' > $@

$(OUT)/o/list: FORCE
	@mkdir -p $(@D)
	@echo '$(core)' | cmp -s - $@ || echo '$(core)' > $@

FORCE:
.PHONY: all FORCE
.SECONDARY:

-include $(wildcard $(OUT)/o/*/*.d $(OUT)/o/*/*/*.d)
