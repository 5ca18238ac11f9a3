need_packages() { :; }
